"""One solver on one recurrence, whose first run is followed step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from runners.measure.job import Frames, Job
from runners.measure.timing import Slice, Times, follow
from solvers import Solution

_POINTS = 400  # how long a trace is, at the most


class TracePoint(NamedTuple):
    """A solve after one of its iterations."""

    num_steps: int
    time_s: float
    residual: float  # the largest of the batch
    frontier: int  # the smallest


class SteppedJob(Job):
    """Runs of which the first is followed step by step, and that are repeated as far as the time limit allows.

    Following costs a stop after every step, and no program of its own.
    """

    def measure(self) -> Solution[Any]:
        """The first run, then the timed ones, as many as fit into the limit; if none does, the first one counts."""
        self.progress.stage(self.label, "first run")
        first = follow(self.compiled, self._point, 1 if self.plan.trace else None, self.time_limit_s)
        self.points, solution, took = first.seen, first.solution, first.seconds
        limit = math.inf if self.time_limit_s is None else self.time_limit_s
        seconds: list[float] = []
        while len(seconds) < self.plan.repeats and sum(seconds) + took <= limit:
            solution, took = self.run(f"run {len(seconds) + 1}/{self.plan.repeats}")
            seconds.append(took)
        self.run_s = Times.of(seconds or [took])
        return solution

    def way(self, solution: Solution[Any], reference: Any) -> tuple[dict[str, np.ndarray], Frames | None]:
        """The way that the first run went; there are no frames."""
        return _trace(self.points), None

    def _point(self, piece: Slice) -> TracePoint:
        self.show(piece)
        progress = piece.progress
        residual, frontier = np.asarray(progress.residual), np.asarray(progress.frontier)
        return TracePoint(int(progress.num_steps), piece.seconds, float(residual.max()), int(frontier.min()))


def _trace(points: Sequence[TracePoint]) -> dict[str, np.ndarray]:
    """The points as arrays, of many those that are evenly spaced on a logarithmic axis of steps."""
    chosen = np.unique(np.geomspace(1, len(points), _POINTS).round().astype(int)) - 1
    columns = zip(TracePoint._fields, zip(*points, strict=True), strict=True)
    return {name: np.asarray(values)[chosen] for name, values in columns}
