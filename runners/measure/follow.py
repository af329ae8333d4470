"""Follow a compiled solve: the one loop that runs it, looks at it between its slices and stops it at a time limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from runners.measure.timing import CompiledSolve, Slice
from solvers import Solution, Status, finish

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class FollowedSolve(Generic[Seen]):
    """A solve that has ended.

    Attributes:
        solution: as it stands at the end, or where the time limit stopped it.
        seconds: the time that solving took.
        seen: what was observed after every slice, in order; one or more.
    """

    solution: Solution[Any]
    seconds: float
    seen: list[Seen]


def follow(
    compiled: CompiledSolve,
    observe: Callable[[Slice], Seen],
    every: int | None = None,
    limit_s: float | None = None,
) -> FollowedSolve[Seen]:
    """Run a solve from its beginning and observe it after every ``every`` iterations, the last ones included.

    Without ``every`` a slice is as many iterations as take about half a second. The solve is stopped after the first
    slice that ends beyond ``limit_s`` seconds of solving; the time that observing takes does not count.
    """
    seen: list[Seen] = []
    unfinished = Status.MAX_STEPS_REACHED
    for last in compiled.slices(every):
        seen.append(observe(last))
        if limit_s is not None and last.seconds > limit_s and last.unfinished:
            unfinished = Status.TIME_LIMIT_REACHED
            break
    return FollowedSolve(finish(compiled.system, last.progress, unfinished), last.seconds, seen)
