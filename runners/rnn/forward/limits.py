"""Within which limits a solver runs on a recurrence."""

from __future__ import annotations

from typing import Any

from runners.config.solvers import SolverEntry, refusal
from runners.measure.comparison import too_long
from runners.report.units import format_bytes
from runners.rnn.forward.config import ForwardRNNConfig
from solvers.equations import batch_size
from solvers.linear.linearize import ravel

_FLOAT_BYTES = 4


def reason_to_skip(config: ForwardRNNConfig, system: Any, entry: SolverEntry) -> str | None:
    """Why a solver is not run on a system; None where it is."""
    reason = too_long(system, entry, config.sequential_max_length) or refusal(entry, system)
    needed = 0.0 if reason else working_bytes(system, entry)
    if needed > config.memory_limit_mib * 2**20:
        return f"it may hold up to {format_bytes(needed)}, more than memory_limit_mib, {config.memory_limit_mib:g}"
    return reason


def working_bytes(system: Any, entry: SolverEntry) -> float:
    """About what a solver holds at once, as it says itself; 0 where it does not: a few states."""
    guess = system.initial_guess()
    floats = entry.solver.floats_per_equation(ravel(guess).shape[-1]) or 0
    return float(_FLOAT_BYTES * system.num_equations * batch_size(guess) * floats)
