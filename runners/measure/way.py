"""The trace of a solve, row by row of its steps: by its own program, stopped after each, or by one that traces itself.

Both give the same numbers. Stopping costs a little at every step, and a program that traces itself costs as much as the
solve's own to compile: of a large network seconds, where a few hundred stops take a few tenths of one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from runners.measure.processes import agreed, gathered
from runners.measure.timing import CompiledSolve, Slice, follow
from solvers.equations import compare

STOP_S = 2e-3  # about what stopping after a step costs, looking at it included
SLOWED = 0.03  # the share of a run by which stops may slow it down, where its times are shown


class TraceRows(NamedTuple):
    """Where a solve stood after each of its iterations; see Trace."""

    num_steps: Int[np.ndarray, " S"]
    residual: Float[np.ndarray, "S B"]
    frontier: Int[np.ndarray, "S B"]
    error: Float[np.ndarray, "S B"]


class Way(NamedTuple):
    """A solve that was followed to its end, or to its time limit."""

    trace: TraceRows
    pieces: list[Slice]  # after every so many iterations, and after the last


def stops_pay(compiled: CompiledSolve, iterations: int, run_s: float, *, is_timed: bool) -> bool:
    """Whether stopping after each of a solve's iterations costs less than another compilation.

    ``run_s``: seconds of a run that is not stopped. ``is_timed``: whether the times of the stops are to be shown; then
    they may slow the run down a little only. All processes get the same answer.
    """
    compiling = agreed(compiled.compile_s)
    return 0 < iterations * STOP_S <= (min(compiling, SLOWED * run_s) if is_timed else compiling)


def step_by_step(
    compiled: CompiledSolve, reference: Any, show: Callable[[Slice], Slice], every: int, limit_s: float | None
) -> Way:
    """Follow a solve by its own program, stopped after each step; errors are against the state ``reference``."""
    rows: dict[int, tuple[Any, ...]] = {}  # by iteration, as a step that was spoiled does not count as one
    pieces: list[Slice] = []
    latest: list[Slice] = []  # the one

    def observe(piece: Slice) -> None:
        progress = show(piece).progress
        error = _distance(progress.x, reference, compiled.system.num_equations)
        steps, *rest = map(np.asarray, gathered((progress.steps, progress.residual, progress.frontier, error)))
        rows[piece.iteration] = (np.max(steps), *rest)
        latest[:] = [piece]
        if piece.iteration % every == 0 or not piece.unfinished:
            pieces.append(piece)

    follow(compiled, observe, 1, limit_s)
    if not pieces or pieces[-1].iteration != latest[0].iteration:  # the time limit came between
        pieces.append(latest[0])
    return Way(TraceRows(*(np.stack(column) for column in zip(*rows.values(), strict=True))), pieces)


def by_traced_program(
    traced: CompiledSolve, show: Callable[[Slice], Slice], every: int | None, limit_s: float | None
) -> Way:
    """Follow a solve whose program writes its trace; stopped after ``every`` iterations, or where None as it comes."""
    followed = follow(traced, show, every, limit_s)
    iterations = int(followed.solution.stats.num_iterations)
    trace: Any = gathered(followed.solution.trace)
    columns = trace.num_steps, trace.residual, trace.frontier, trace.error
    return Way(TraceRows(*(np.asarray(column)[:iterations] for column in columns)), followed.seen)


@partial(jax.jit, static_argnums=2)
def _distance(x: Any, reference: Any, num_equations: int) -> Float[Array, " B"]:
    """The largest error of each sample, as a trace has it."""
    return compare(x, reference, num_equations).residual
