"""What a program needs against what is free: arguments are there already, and a container may have less than all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from runners.measure import memory
from runners.measure.memory import MemoryNeedError, check_fits, group_bytes, program_bytes
from runners.measure.timing import CompiledSolve
from solvers import Jacobi, from_function

GIB = 2**30


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


def test_a_solve_is_told_by_its_program_and_not_by_the_most_that_a_device_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process: a solver would have no less than all before it."""
    before = {"peak_bytes_in_use": 64 * GIB, "bytes_in_use": 0, "bytes_limit": 80 * GIB}
    monkeypatch.setattr(jax, "local_devices", lambda: [SimpleNamespace(memory_stats=lambda: before)])

    def held(length: int) -> int:
        system = from_function(jnp.zeros_like, jnp.ones((length, 1)), check=False)
        return CompiledSolve(system, Jacobi()).peak_memory_bytes() or 0

    large, small = held(5000), held(5)
    assert 0 < small < 5000 < large < GIB


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
