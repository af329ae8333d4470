"""Memory told beforehand: what a compiled program will hold, against what the device has left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from common.errors import UserError
from runners.report.units import format_bytes


class MemoryNeedError(UserError):
    """A program would not fit into memory."""


def program_bytes(compiled: Any) -> int | None:
    """Arguments, results and temporaries of a compiled program, all at once; None where its analysis does not tell."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    return int(
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def free_bytes() -> int | None:
    """Memory that is free on the device, or for a processor on the machine; None where nothing says so."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # another system
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def check_fits(compiled: Any) -> None:
    """Raise MemoryNeedError where a program would hold more than there is: a system may kill it without a word."""
    needed, free = program_bytes(compiled), free_bytes()
    if needed is not None and free is not None and needed > free:
        raise MemoryNeedError(
            f"a solve would hold {format_bytes(needed)} at once, more than the {format_bytes(free)} that are free; try "
            "a smaller batch_size or block_size, a smaller max_steps, or trace: false"
        )
