"""What a program needs against what is free: arguments are there already, and a container may have less than all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from runners.measure import memory
from runners.measure.memory import MemoryNeedError, check_fits, group_bytes, program_bytes


def compiled() -> Any:
    """A program that reads 4 MB and gives four bytes."""
    return jax.jit(lambda x: x[0] + x[-1]).lower(jnp.zeros(10**6)).compile()


def test_arguments_that_are_there_need_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    program = compiled()
    assert (program_bytes(program) or 0) > 4 * 10**6
    monkeypatch.setattr(memory, "free_bytes", lambda: 10**5)
    check_fits(program)
    monkeypatch.setattr(memory, "free_bytes", lambda: 3)
    with pytest.raises(MemoryNeedError, match="^a solve needs .* more than the 3 B that are free; try a smaller batch"):
        check_fits(program)


GIB = 2**30


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("0::/", {"memory.max": "max", "memory.current": "5", "memory.stat": ""}, []),
        ("0::/", {"memory.max": 4 * GIB, "memory.current": GIB, "memory.stat": "inactive_file 7"}, [3 * GIB + 7]),
        ("0::/", {"memory.max": 1, "memory.current": 2, "memory.stat": ""}, [0]),
        ("0::/a/b", {"a/memory.max": 9, "a/memory.current": 2, "a/b/memory.max": 5, "a/b/memory.current": 1}, [4, 7]),
        ("0::/out/of/sight", {"memory.max": 9, "memory.current": 2}, [7]),
        (
            "5:cpu:/\n4:memory:/x",
            {
                **{"memory/x/memory.limit_in_bytes": 8, "memory/x/memory.usage_in_bytes": 6},
                "memory/x/memory.stat": "cache 5\ntotal_active_file 1\ntotal_inactive_file 2",
            },
            [5],
        ),
        ("5:cpu:/", {}, []),
    ],
)
def test_a_container_has_what_its_group_has_left(
    groups: str, files: dict[str, Any], left: list[int], tmp_path: Path
) -> None:
    (tmp_path / "cgroup").write_text(f"{groups}\n")
    for name, content in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(f"{content}\n")
    assert group_bytes(tmp_path / "cgroup", tmp_path / "root") == left


def test_another_system_has_no_groups(tmp_path: Path) -> None:
    assert group_bytes(tmp_path / "cgroup", tmp_path) == []


def test_the_least_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "group_bytes", lambda: [12345, 10**18])
    if jax.default_backend() == "cpu":
        assert memory.free_bytes() == 12345
