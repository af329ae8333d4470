"""One solver on one recurrence: within which limits it runs, and the way to its answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runners.config.solvers import SolverEntry, refusal
from runners.measure.job import Job, Plan, Row
from runners.measure.progress import SolveProgress
from runners.measure.timing import Slice, Times
from runners.report.units import format_bytes
from solvers import Solution, Status, finish
from solvers.equations import batch_size
from solvers.linear.linearize import ravel

_POINTS = 400  # how long a trace is, at the most
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Limits:
    """What a solver may take."""

    time_s: float  # for each run
    memory_mib: float
    sequential_length: int  # of the longest system that naive sequential evaluation runs on


def reason_to_skip(system: Any, entry: SolverEntry, limits: Limits) -> str | None:
    """Why this solver is not run on this system; None where it is."""
    length = system.num_equations
    if entry.name == "sequential" and length > limits.sequential_length:
        return (
            f"naive sequential evaluation computes all T equations T times, here {length**2:,} transitions a sample; "
            f"it is left out above T = {limits.sequential_length:,} (sequential_max_length)"
        )
    reason = refusal(entry, system)
    if reason is not None:
        return reason
    needed = working_bytes(system, entry)
    if needed <= limits.memory_mib * 2**20:
        return None
    return f"it may hold up to {format_bytes(needed)}, more than memory_limit_mib, {limits.memory_mib:g}"


def working_bytes(system: Any, entry: SolverEntry) -> float:
    """About what a solver holds at once, as it says itself; 0 where it does not: a few states."""
    guess = system.initial_guess()
    floats = entry.solver.floats_per_equation(ravel(guess).shape[-1]) or 0
    return float(_FLOAT_BYTES * system.num_equations * batch_size(guess) * floats)


class TracedJob(Job):
    """Runs of which the first is followed step by step, and that are repeated as far as the time limit allows.

    Following costs a stop after every step, and no program of its own.
    """

    def __init__(
        self,
        system: Any,
        entry: SolverEntry,
        label: str,
        plan: Plan,
        time_limit_s: float | None,
        progress: SolveProgress,
    ) -> None:
        super().__init__(system, entry, label, dataclasses.replace(plan, trace=False), time_limit_s, progress)
        self.follows = plan.trace
        self.way: list[tuple[int, float, float, int]] = []  # steps, seconds, largest residual, smallest frontier

    def measure(self) -> Solution[Any]:
        """The first run, then the timed ones, as many as fit into the limit; if none does, the first one counts."""
        solution, took = self._first()
        seconds: list[float] = []
        while len(seconds) < self.plan.repeats and self._allowed(sum(seconds) + took):
            solution, took = self._run(f"run {len(seconds) + 1}/{self.plan.repeats}")
            seconds.append(took)
        self.run_s = Times.of(seconds or [took])
        return solution

    def row(self, sweep: Any, solution: Solution[Any], reference: Any) -> Row:
        """Everything measured, and the way that the first run went."""
        row = super().row(sweep, solution, reference)
        return dataclasses.replace(row, trace=_thinned(self.way)) if self.way else row

    def _first(self) -> tuple[Solution[Any], float]:
        self.progress.stage(self.label, "first run")
        if not self.follows:
            return self.compiled.run(self._show, self.time_limit_s)
        unfinished = Status.MAX_STEPS_REACHED
        for last in self.compiled.slices(1):
            self._note(last)
            if not self._allowed(last.seconds):
                unfinished = Status.TIME_LIMIT_REACHED
                break
        return finish(self.system, last.progress, unfinished), last.seconds

    def _note(self, piece: Slice) -> None:
        progress = piece.progress
        residual, frontier = np.asarray(progress.residual), np.asarray(progress.frontier)
        self.way.append((int(progress.num_steps), piece.seconds, float(residual.max()), int(frontier.min())))
        self._show(piece)

    def _allowed(self, seconds: float) -> bool:
        return self.time_limit_s is None or seconds <= self.time_limit_s


def _thinned(way: Sequence[tuple[int, float, float, int]]) -> dict[str, np.ndarray]:
    """The trace as arrays, a long one at steps that are evenly spaced on a logarithmic axis."""
    chosen = np.unique(np.geomspace(1, len(way), _POINTS).round().astype(int)) - 1
    columns = zip(("num_steps", "time_s", "residual", "frontier"), zip(*way, strict=True), strict=True)
    return {name: np.asarray(values)[chosen] for name, values in columns}
