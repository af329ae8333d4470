"""Within which limits a solver runs on a recurrence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runners.config.solvers import SolverEntry
from runners.measure.skip import too_long
from runners.report.units import format_bytes
from solvers.equations import batch_size
from solvers.linear.linearize import ravel

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Limits:
    """What a solver may take."""

    time_s: float  # for each run
    memory_mib: float
    sequential_length: int  # of the longest system that naive sequential evaluation runs on

    def skip(self, system: Any, entry: SolverEntry) -> str | None:
        """Why a solver is not run on a system; None where it is."""
        return (
            too_long(system, entry, self.sequential_length)
            or _unfit(system, entry)
            or self._too_large(working_bytes(system, entry))
        )

    def _too_large(self, needed: float) -> str | None:
        if needed <= self.memory_mib * 2**20:
            return None
        return f"it may hold up to {format_bytes(needed)}, more than memory_limit_mib, {self.memory_mib:g}"


def working_bytes(system: Any, entry: SolverEntry) -> float:
    """About what a solver holds at once, as it says itself; 0 where it does not: a few states."""
    floats = getattr(entry.solver, "floats_per_equation", None)
    if floats is None:
        return 0.0
    guess = system.initial_guess()
    return float(_FLOAT_BYTES * system.num_equations * batch_size(guess) * floats(ravel(guess).shape[-1]))


def _unfit(system: Any, entry: SolverEntry) -> str | None:
    """Why a solver refuses a system of this size."""
    try:
        entry.solver.max_steps(system)
    except ValueError as error:
        return str(error)
    return None
