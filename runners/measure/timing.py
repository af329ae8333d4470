"""Times: compiling apart from running, warmed up, blocked until ready, medians and quartiles; and a solve followed.

A solve runs in compiled slices of about half a second, so that a progress bar, Ctrl-C and a time limit can act between
them; a solve shorter than that is one slice.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np

from runners.measure.layout import Layout
from runners.measure.memory import check_fits, program_bytes
from runners.measure.processes import agreed, gathered
from solvers import Progress, Solution, Solver, Status, TraceOptions, advance, finish, start

SLICE_S = 0.5
WARM_UP_S = 0.1
CALLS_S = 5.0

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Times:
    """Repeated measurements of one thing, in seconds."""

    median: float
    q1: float
    q3: float
    n: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        """Median and quartiles of ``seconds``."""
        q1, median, q3 = np.percentile(seconds, [25, 50, 75])
        return cls(float(median), float(q1), float(q3), len(seconds))

    @property
    def in_ms(self) -> dict[str, float]:
        """As results.json has times in milliseconds; ``n`` stays the number of measurements."""
        return {key: value if key == "n" else 1e3 * value for key, value in dataclasses.asdict(self).items()}


def time_calls(function: Callable[[], Any], repeats: int) -> Times:
    """Time ``repeats`` calls of a compiled function, or as many as fit into five seconds, and one at the least.

    It is warmed up for a tenth of a second: threads and caches take that long.
    """
    begin = time.perf_counter()
    while agreed(time.perf_counter() - begin) < WARM_UP_S:
        jax.block_until_ready(function())
    seconds: list[float] = []
    while not seconds or (len(seconds) < repeats and sum(seconds) < CALLS_S):
        seconds.append(time_call(function))
    return Times.of(seconds)


def time_call(function: Callable[[], Any]) -> float:
    """Seconds of one call of a compiled function, until what it gives is ready."""
    begin = time.perf_counter()
    jax.block_until_ready(function())
    return agreed(time.perf_counter() - begin)


@dataclass(frozen=True)
class Slice:
    """A solve after some of its steps."""

    progress: Progress
    iteration: int
    seconds: float  # time spent solving since the start, without what the reader of slices did in between

    @property
    def unfinished(self) -> bool:
        """``progress.unfinished`` without dispatching anything to the device, whose threads would fall asleep."""
        running = np.asarray(gathered(self.progress.status)) == Status.MAX_STEPS_REACHED
        return bool(running.any()) and self.iteration < int(self.progress.limit)


def _iteration(progress: Progress) -> int:
    """``progress.iteration`` without dispatching anything to the device."""
    return int(np.max(np.asarray(gathered(progress.iterations)), initial=0))


class CompiledSolve:
    """One solver on one system, compiled once and run many times."""

    def __init__(
        self, system: Any, solver: Solver, *, max_steps: int | None = None, trace: TraceOptions | None = None
    ) -> None:
        """Compile; ``compile_s`` is the time that it took."""
        begin = time.perf_counter()
        self.system = system
        layout = Layout.of(system)
        reference = None if trace is None else trace.reference

        def begin_solve(system: Any, reference: Any) -> Progress:
            asked = None if trace is None else TraceOptions(reference)
            return layout.on(start(system, solver, max_steps=max_steps, trace=asked))

        first = jax.jit(begin_solve).lower(system, reference).compile()
        check_fits(first)
        self._start: Callable[[Any], Progress] = lambda system: first(system, reference)  # one of the same shapes
        progress = self._start(system)
        self._advance = layout.keeping(advance, system, solver, progress).compile()
        check_fits(self._advance)
        self.compile_s = time.perf_counter() - begin
        self._per_slice = 0  # steps that take about SLICE_S; 0: not known yet

    def on(self, system: Any) -> CompiledSolve:
        """The same program for another system, whose shapes are the same."""
        other = copy.copy(self)
        other.system = system
        return other

    def slices(self, steps: int | None = None) -> Iterator[Slice]:
        """Run, yielding after every slice of ``steps`` iterations (default: as many as take about half a second).

        There is one slice or more: of a system without equations an empty one.
        """
        begin = time.perf_counter()
        progress = jax.block_until_ready(self._start(self.system))
        last = Slice(progress, 0, agreed(time.perf_counter() - begin))
        size = steps or self._per_slice or 1
        while True:
            begin = time.perf_counter()
            until = np.int32(last.iteration + size)
            progress = jax.block_until_ready(self._advance(self.system, last.progress, until))
            took = agreed(time.perf_counter() - begin)
            iteration = _iteration(progress)
            done = iteration - last.iteration
            last = Slice(progress, iteration, last.seconds + took)
            if steps is None:
                size = max(1, min(2 * size, int(SLICE_S * done / max(took, 1e-9))))
                self._per_slice = max(self._per_slice, size)
            yield last
            if not last.unfinished:
                return

    def until(self, steps: int) -> Slice:
        """Run the first ``steps`` iterations in one go."""
        begin = time.perf_counter()
        progress = self._advance(self.system, self._start(self.system), np.int32(steps))
        jax.block_until_ready(progress)
        return Slice(progress, _iteration(progress), time.perf_counter() - begin)

    def peak_memory_bytes(self) -> int | None:
        """What the program of the steps holds at once, by its analysis; None where that does not tell.

        Not the peak that a device reports: that is of the whole process, whatever solved before.
        """
        return program_bytes(self._advance)


class FollowedSolve(NamedTuple, Generic[Seen]):
    """A solve that has ended."""

    solution: Solution[Any]  # as it stands at the end, or where the time limit stopped it
    seconds: float  # that solving took
    seen: list[Seen]  # what was observed after every slice, in order; one or more


def follow(
    compiled: CompiledSolve, observe: Callable[[Slice], Seen], every: int | None = None, limit_s: float | None = None
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
