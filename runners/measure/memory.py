"""Memory told beforehand: what a compiled program will hold, against what the device has left."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jax

from common.errors import UserError
from runners.measure.processes import least
from runners.report.units import format_bytes

# Where each version of Linux's control groups keeps a group's limit and use, in bytes, and what of that are files that
# it lets go of.
_GROUPS = {
    "": ("memory.max", "memory.current", ("inactive_file", "active_file")),
    "memory": (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
}


class MemoryNeedError(UserError):
    """A program would not fit into memory."""


def program_bytes(compiled: Any) -> int | None:
    """Arguments, results and temporaries of a compiled program, all at once; None where its analysis does not tell."""
    analysis, new = compiled.memory_analysis(), new_bytes(compiled)
    return None if new is None else new + int(analysis.argument_size_in_bytes)


def new_bytes(compiled: Any) -> int | None:
    """Results and temporaries alone, which take memory that is free where the arguments are there already."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    return int(analysis.output_size_in_bytes + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes)


def free_bytes() -> int | None:
    """Memory that is free on the device, or for a processor on the machine; None where nothing says so."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    machine = [int(words[1]) * 1024 for words in _lines(Path("/proc/meminfo")) if words[0] == "MemAvailable:"]
    return min(machine + group_bytes(), default=None)


def group_bytes(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Memory that is left to this process in each control group, of either version, that has a limit.

    A container has one, and kills what goes beyond it. Files that are kept in memory count as left.
    """
    left = []
    for line in _lines(groups):
        _, controllers, place = line[0].split(":", 2)
        kind = next((kind for kind in _GROUPS if kind in controllers.split(",")), None)
        if kind is None:
            continue
        limit, used, files = _GROUPS[kind]
        # Seen from inside a container its own group is the root, whatever the path says.
        inner = Path(place.strip("/"))
        for folder in [root / kind / each for each in (inner, *inner.parents)]:
            known = [int(words[0][0]) for words in (_lines(folder / limit), _lines(folder / used)) if _is_number(words)]
            if len(known) == 2:
                kept = {words[0]: int(words[1]) for words in _lines(folder / "memory.stat")}
                left.append(max(0, known[0] - known[1] + sum(kept.get(name, 0) for name in files)))
    return left


def _lines(path: Path) -> list[list[str]]:
    """The words of each line of a file; none where it cannot be read, as on another system."""
    try:
        return [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError:
        return []


def _is_number(lines: list[list[str]]) -> bool:
    return bool(lines) and lines[0][0].isdigit()  # no limit is the word "max"


def check_fits(compiled: Any) -> None:
    """Raise MemoryNeedError where a program needs more than there is: a system may kill it without a word.

    Its arguments are in memory already.
    """
    needed, on_device = new_bytes(compiled), free_bytes()
    # What all processes agree on: one that went on without the others would wait for them.
    free = least(math.inf if on_device is None else on_device)
    if needed is not None and needed > free:
        raise MemoryNeedError(
            f"a solve needs {format_bytes(needed)} at once, more than the {format_bytes(free)} that are free; try "
            "a smaller batch_size or block_size, a smaller max_steps, or trace: false"
        )
