"""A solver's program before it is compiled: how large it is, and how long compiling it is expected to take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params

from ..iterate import advance, start
from ..solver import Solver

T = TypeVar("T")
TOGETHER = 2  # programs that are compiled at once: most of a compiler's work is done by one thread
_QUICK: dict[str, str | bool] = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": False}
SLOWER, SLOWER_AT_MOST = 2.0, 8.0  # how many times longer it then runs than compiled in full, usually and at the most
# How many times longer a program takes to compile in full than in a hurry, where that is not known: of shipped models
# it was 2 (PixelCNN++) to 6 (DenseNet).
_HURRY = 4.0


class Program:
    """One solver on one system, traced and lowered.

    Tracing is Python's, and belongs to the thread whose settings of JAX it is to have; ``compile`` may be called in
    any.
    """

    def __init__(self, system: Any, solver: Solver) -> None:
        """Trace, and begin a solve, by a program in a hurry. ``size`` is the number of operations of a step."""
        self.system, self.solver = system, solver
        self._start = jax.jit(lambda system: start(system, solver)).lower(system)
        self._started = compiled(self._start, quick=True)
        # A function of its own, with which its programs go: a process has memory maps for some hundred of them.
        step = jax.jit(lambda system, progress, until: advance(system, solver, progress, until))
        traced = step.trace(system, self._started(system), np.int32(1))
        self.size = operations(traced.jaxpr.jaxpr)
        self._advance = traced.lower()

    def compile(self, quick: bool) -> tuple[Any, Any]:
        """What begins a solve, and what goes on with it. ``quick`` ones run longer; see ``compiled``."""
        return (self._started if quick else compiled(self._start, quick)), compiled(self._advance, quick)


def compiled(lowered: jax.stages.Lowered, quick: bool) -> jax.stages.Compiled:
    """The executable of a program, ``quick`` one that is hardly optimized: in half of the time or less."""
    return lowered.compile(_QUICK if quick else None)


def operations(jaxpr: Jaxpr) -> int:
    """How many equations a jaxpr has, those of functions and of loops' bodies counted wherever they stand."""
    inside = (each for equation in jaxpr.eqns for each in jaxprs_in_params(equation.params))
    return len(jaxpr.eqns) + sum(map(operations, inside))


class Taken(NamedTuple):
    """What compiling a program took."""

    size: int
    quick: bool
    seconds: float


class CompileTimes:
    """What compiling has taken so far, and what it is expected to take."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._taken: list[Taken] = []

    def add(self, size: int, quick: bool, seconds: float) -> None:
        """Note what was compiled."""
        self._taken.append(Taken(size, quick, seconds))

    def expected(self, size: int | None, quick: bool) -> float:
        """Seconds that a program of ``size`` operations is expected to take, or one as large as the others were.

        As long for each operation as in the slower half of the programs that were compiled so, as some are found in a
        cache; and no less than the shortest.
        """
        alike = [each for each in self._taken if each.quick == quick]
        others, factor = (alike, 1.0) if alike else (self._taken, 1.0 / _HURRY if quick else _HURRY)
        if not others:
            return 0.0
        slow = sorted(others, key=lambda each: each.seconds / max(1, each.size))[len(others) // 2 :]
        rate = sum(each.seconds for each in slow) / max(1, sum(each.size for each in slow))
        mean = sum(each.size for each in others) / len(others)
        return factor * max(min(each.seconds for each in others), rate * (mean if size is None else size))


def timed(job: Callable[[], T]) -> tuple[T | Exception, float]:
    """What a job gives or raises, and the seconds that it took.

    Only MemoryError and RuntimeError are caught, as which a compiler's failures come.
    """
    begin = time.perf_counter()
    try:
        done: T | Exception = job()
    except (MemoryError, RuntimeError) as error:
        done = error
    return done, time.perf_counter() - begin


def side_by_side(jobs: Iterable[Callable[[], T]]) -> list[tuple[T | Exception, float]]:
    """What each of some jobs gives or raises, and the seconds that it took; some run at once, in threads.

    A job is begun when ``jobs`` gives it, as soon as a thread is free: ``jobs`` may trace the next one meanwhile, as it
    is asked in the caller's thread.
    """
    with ThreadPoolExecutor(TOGETHER) as pool:
        return [each.result() for each in [pool.submit(timed, job) for job in jobs]]
