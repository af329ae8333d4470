"""A pilot: one solver's own program on one system, run for a while, and what it tells of the whole solve."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..equations import magnitude
from ..progress import Progress
from ..solution import Status
from .program import Program

_ROUNDS = 3  # iterations that a pilot takes at the least, where that takes
_PATIENCE = 2.0  # no more than this many times its limit


class Point(NamedTuple):
    """How far a solve has come."""

    num_iterations: int
    num_steps: int
    sweeps: float
    frontier: float  # mean of the equations known to be exact, over the samples that are not done at the end
    slowest: int  # the least of them
    residual: float  # the largest of the batch, in units of the largest value or of one
    seconds: float  # since the solve began


@dataclass(frozen=True)
class Flight:
    """What a pilot saw: points on the way, the last of which is the end of the solve where it converged."""

    points: list[Point]
    converged: bool
    failed: bool  # it ended, and not at a solution
    seconds: float | None  # of a whole solve, where it converged
    x: Any  # the state as it stands


class Pilot:
    """One solver on one system, compiled."""

    def __init__(self, program: Program, quick: bool = False) -> None:
        """Compile; ``memory_bytes`` is what the program holds at once.

        ``quick`` is for counting steps alone: see ``Program.compile``.
        """
        self.quick = quick
        self._system = program.system
        self._start, self._advance = program.compile(quick)
        self.memory_bytes = _bytes(self._advance)

    def fly(self, limit_s: float, most_s: float = math.inf) -> Flight:
        """Solve until it is done or ``limit_s`` seconds are over, a few steps at the least unless they take long.

        After ``most_s`` seconds no step is begun but the first.

        Slices double, so that looking at them costs little. What came to its end in time is solved once more, without
        slices and warm, unless it was compiled in a hurry.
        """
        limit_s = min(limit_s, most_s)
        begin = time.perf_counter()
        progress: Progress = jax.block_until_ready(self._start(self._system))
        points, size = [_point(progress, time.perf_counter() - begin)], 1
        frontiers = [np.asarray(progress.frontier)]
        while progress_goes_on(progress) and _flies_on(points[-1], limit_s, most_s):
            begin = time.perf_counter()
            until = np.int32(points[-1].num_iterations + size)
            progress = jax.block_until_ready(self._advance(self._system, progress, until))
            took = time.perf_counter() - begin
            points.append(_point(progress, points[-1].seconds + took))
            frontiers.append(np.asarray(progress.frontier))
            # As far as is left by the time, and no more than doubles what is known.
            size = 2 * size if 3 * took < limit_s - points[-1].seconds else max(1, size // 2)
        status = int(np.max(np.asarray(progress.status), initial=0))
        ended = not progress_goes_on(progress)
        converged = ended and status == Status.CONVERGED
        seconds = points[-1].seconds
        if converged and seconds < limit_s and not self.quick:
            seconds = min(seconds, self.time())
        behind = _behind(points, frontiers, np.asarray(progress.status) == Status.MAX_STEPS_REACHED)
        return Flight(behind, converged, ended and not converged, seconds if converged else None, progress.x)

    def time(self) -> float:
        """Seconds of one whole solve."""
        begin = time.perf_counter()
        progress = self._start(self._system)
        jax.block_until_ready(self._advance(self._system, progress, np.int32(np.iinfo(np.int32).max)))
        return time.perf_counter() - begin


def _flies_on(last: Point, limit_s: float, most_s: float) -> bool:
    """Whether a pilot has time for more: of one or two steps it is hard to tell how the others will go."""
    few = 0 < last.num_iterations < _ROUNDS and last.seconds < min(_PATIENCE * limit_s, most_s)
    return last.num_iterations == 0 or few or last.seconds < limit_s


def progress_goes_on(progress: Progress) -> bool:
    """``progress.unfinished`` without waking the device for it."""
    active = np.asarray(progress.status) == Status.MAX_STEPS_REACHED
    return bool(active.any()) and int(np.max(np.asarray(progress.iterations), initial=0)) < int(progress.limit)


def _behind(
    points: Sequence[Point], frontiers: Sequence[Int[np.ndarray, " B"]], active: Bool[np.ndarray, " B"]
) -> list[Point]:
    """The points with the prefixes of the samples that are not done: of those that are they have stopped growing."""
    which = active if active.any() else np.ones_like(active)
    kept = [frontier[which] for frontier in frontiers]
    return [
        point._replace(
            frontier=float(frontier.mean()) if frontier.size else 0.0,
            slowest=int(frontier.min(initial=np.iinfo(np.int32).max)),
        )
        for point, frontier in zip(points, kept, strict=True)
    ]


@jax.jit
def _relative(residual: Float[Array, " B"], x: Any) -> Float[Array, " B"]:
    """Residuals in the units of a tolerance."""
    return residual / jnp.maximum(1.0, magnitude(x))


def _point(progress: Progress, seconds: float) -> Point:
    residual = np.asarray(_relative(progress.residual, progress.x))
    return Point(
        num_iterations=int(np.max(np.asarray(progress.iterations), initial=0)),
        num_steps=int(np.max(np.asarray(progress.steps), initial=0)),
        sweeps=float(np.max(np.asarray(progress.sweeps), initial=0.0)),
        frontier=0.0,  # this and the next once it is known which samples were done at the end
        slowest=0,
        residual=float(residual.max(initial=0.0)),
        seconds=seconds,
    )


def _bytes(compiled: Any) -> int | None:
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    new = analysis.output_size_in_bytes + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes
    return int(new + analysis.argument_size_in_bytes)
