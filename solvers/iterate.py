"""The one loop: steps, finiteness, limits, status and trace. Solvers only step; derivatives are implicit.py's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from .equations import (
    batch_size,
    by_equation,
    check_layout,
    finite_equations,
    prefix_mask,
    select,
)
from .pairing import require_fit
from .progress import RUNNING, Progress, StepReport, TraceOptions, empty_trace, grow_trace, record
from .solution import Solution, Stats, Status
from .solver import Solver, StepInfo
from .system import CountedGuessingSystem, GuessingSystem
from .trees.precision import full_products

DIVERGENCE_FACTOR = 1e6


def iterate(
    system: Any,
    solver: Solver,
    *,
    x0: Any = None,
    max_steps: int | None = None,
    trace: TraceOptions | None = None,
    state: Progress | None = None,
    callback: Callable[[StepReport], None] | None = None,
) -> Solution[Any]:
    """Repeat the solver's step until every sample is done, from the first guess or from where ``state`` stands.

    Arguments are those of ``solve``. No derivative goes through the loop: implicit.py gives the solution one.

    Raises:
        PairingError: the system does not satisfy what the solver requires.
        ValueError: a limit below 1, or a state laid out wrongly.
    """
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, not {max_steps}")
    if state is not None and (x0 is not None or trace is not None):
        raise ValueError("a resumed solve goes on from its state: x0 and trace cannot be given with it")
    system, x0, state = lax.stop_gradient((system, x0, state))
    if state is None:
        trace = None if trace is None else TraceOptions(lax.stop_gradient(trace.reference))
        progress = start(system, solver, x0=x0, max_steps=max_steps, trace=trace)
    else:
        progress = _resume(system, solver, state, max_steps)
    return finish(system, advance(system, solver, progress, progress.limit, callback))


@full_products
def start(
    system: Any,
    solver: Solver,
    *,
    x0: Any = None,
    max_steps: int | None = None,
    trace: TraceOptions | None = None,
) -> Progress:
    """A solve before its first step. With ``advance`` and ``finish`` this is ``solve`` in slices.

    Values of the first guess that are not finite are taken for zeros.
    """
    require_fit(system, solver)
    x = system.initial_guess()
    check_layout(x, system.num_equations)
    if x0 is not None:
        _check_alike("x0", x0, x)
        x = x0
    if trace is not None and trace.reference is not None:
        _check_alike("the trace's reference", trace.reference, x)
    # A guess that is not finite says nothing, and could spoil all equations.
    x = jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, jnp.zeros_like(leaf)), x)
    limit = _limit(system, solver, max_steps)
    batch = batch_size(x)
    unknown = jnp.full(batch, jnp.inf)
    return Progress(
        x=x,
        guess=x,
        solver_state=solver.init(system, x),
        iterations=jnp.zeros(batch, jnp.int32),
        limit=jnp.int32(limit),
        steps=jnp.zeros(batch, jnp.int32),
        sweeps=jnp.zeros(batch, jnp.float32),
        status=jnp.full(batch, RUNNING if system.num_equations else Status.CONVERGED, jnp.int32),
        residual=unknown,
        first_residual=unknown,
        frontier=jnp.zeros(batch, jnp.int32),
        steps_to_convergence=jnp.full(batch, -1 if system.num_equations else 0, jnp.int32),
        resets=jnp.zeros(batch, jnp.int32),
        trace=None if trace is None else empty_trace(limit, batch),
        reference=None if trace is None else trace.reference,
        previous=x if _guesses(system) else None,
    )


def _limit(system: Any, solver: Solver, max_steps: int | None) -> int:
    """The limit on steps: no more than after which the solver has terminated, so that no trace is longer than that."""
    bound = solver.max_steps(system)
    return bound if max_steps is None else min(max_steps, bound)


def _check_alike(name: str, given: Any, expected: Any) -> None:
    """Raise ValueError unless ``given`` has the structure, shapes and dtypes of ``expected``."""
    found, wanted = (jax.tree.map(lambda a: f"{jnp.result_type(a)}{jnp.shape(a)}", tree) for tree in (given, expected))
    if found != wanted:
        raise ValueError(f"{name} must be laid out as {wanted}, not {found}")


def _resume(system: Any, solver: Solver, state: Progress, max_steps: int | None) -> Progress:
    """``state`` under another limit. Raises ValueError unless it is of a solve of this system by this solver."""
    fresh = jax.eval_shape(lambda: start(system, solver))
    _check_alike("the state's x", state.x, fresh.x)
    if str(jax.tree.structure(state.solver_state)) != str(jax.tree.structure(fresh.solver_state)):
        name = type(solver).__name__
        raise ValueError(f"the state is of another solver, not of {name}, or was begun under another default device")
    limit = _limit(system, solver, max_steps)
    return dataclasses.replace(state, limit=jnp.asarray(limit, jnp.int32), trace=grow_trace(state.trace, limit))


@partial(jax.jit, static_argnames=("solver", "callback"))
@full_products
def advance(
    system: Any,
    solver: Solver,
    progress: Progress,
    until: int | Int[Array, ""],
    callback: Callable[[StepReport], None] | None = None,
) -> Progress:
    """Take steps until all samples are done, the limit is reached, or ``until`` steps have been taken in all.

    ``callback`` is called on the host after each.
    """
    num_equations = system.num_equations
    if num_equations == 0:
        return progress
    last = jnp.minimum(until, progress.limit)

    def step(carry: tuple[Progress, _Standing]) -> tuple[Progress, _Standing]:
        progress, spoiled = _step(system, solver, *carry)
        standing = _standing(progress, spoiled, num_equations)
        return _told(progress, standing, num_equations, callback), standing

    # Before the first step there is none that could count.
    first = _standing(progress, jnp.ones_like(progress.active), num_equations)
    progress, standing = lax.while_loop(
        lambda carry: (carry[1][0] == 0) & (carry[1][3] + carry[1][1] < last), step, (progress, first)
    )
    return _counted(progress, standing)


def _told(
    progress: Progress, standing: _Standing, num_equations: int, callback: Callable[[StepReport], None] | None
) -> Progress:
    """The progress with its trace's row for the last step, which the callback is told of too."""
    if progress.trace is None and callback is None:
        return progress
    now = _counted(progress, standing)
    if callback is not None:
        jax.debug.callback(callback, StepReport(now.iteration, now.num_steps, now.residual, now.frontier))
    return dataclasses.replace(progress, trace=record(now, num_equations))


def finish(system: Any, progress: Progress, unfinished: Status = Status.MAX_STEPS_REACHED) -> Solution[Any]:
    """The solution as it stands; ``unfinished`` is the status of samples that are not done."""
    sample_status = jnp.where(progress.active, int(unfinished), progress.status)
    sweeps = jnp.max(progress.sweeps, initial=0)
    stats = Stats(
        num_steps=progress.num_steps,
        num_iterations=progress.iteration,
        sweep_equivalents=sweeps,
        function_evaluations=sweeps * system.num_equations,
        residual=progress.residual,
        frontier=progress.frontier,
        steps_to_convergence=progress.steps_to_convergence,
        guess_resets=jnp.sum(progress.resets),
    )
    return Solution(progress.x, jnp.max(sample_status), sample_status, stats, progress.trace, progress)


# What the loop asks of all samples at once, in one reduction, for which devices that share the batch wait once: 0 where
# a sample needs another step, else 1; 0 where the last step was spoiled in a sample, else 1; the shortest frontier of
# the samples that need another step (T where none does); and the steps so far, without the last.
_Standing: TypeAlias = Int[Array, "4"]


def _standing(progress: Progress, spoiled: Bool[Array, " B"], num_equations: int) -> _Standing:
    """How all samples stand after a step."""
    frontier = jnp.where(progress.active, progress.frontier, num_equations)
    rows = jnp.stack([a.astype(jnp.int32) for a in (~progress.active, ~spoiled, frontier, progress.iterations)])
    return lax.reduce(rows, jnp.int32(jnp.iinfo(jnp.int32).max), lax.min, (1,))  # iterations may be more than T


def _counted(progress: Progress, standing: _Standing) -> Progress:
    """The progress with its last step counted.

    A step that was spoiled in any sample gained nothing there, while the others may have waited for it. It does not
    count against finite termination.
    """
    return dataclasses.replace(progress, iterations=progress.iterations + standing[1])


def _step(system: Any, solver: Solver, progress: Progress, standing: _Standing) -> tuple[Progress, Bool[Array, " B"]]:
    """One step of the solver, made safe against overflow and judged; and in which samples it was spoiled.

    What is counted of it is told by the next standing, so ``progress`` counts the step before.
    """
    num_equations = system.num_equations
    progress = _foreseen(system, _counted(progress, standing))
    known = jnp.where(progress.status == Status.NONFINITE, -1, progress.frontier)
    x, solver_state, info = solver.step(system, progress.x, progress.solver_state, known)
    info = info._replace(
        residual=info.residual.astype(progress.residual.dtype),
        frontier=jnp.maximum(info.frontier, progress.frontier),
        sweeps=info.sweeps + _work_of_guessing(system),
    )
    extent = _extent(progress, x, num_equations)
    # Apart from what the state is made of by them, or every element would decide anew.
    verdict = lax.optimization_barrier(_verdict(system, solver, progress, standing[2], info, extent))
    updated = dataclasses.replace(
        progress,
        **verdict.counts._asdict(),
        x=_settled(verdict, x, progress, num_equations),
        solver_state=solver_state,
    )
    return updated, verdict.spoiled


class _Counts(NamedTuple):
    """Fields of Progress after a step."""

    iterations: Int[Array, " B"]
    steps: Int[Array, " B"]
    sweeps: Float[Array, " B"]
    status: Int[Array, " B"]
    residual: Float[Array, " B"]
    first_residual: Float[Array, " B"]
    frontier: Int[Array, " B"]
    steps_to_convergence: Int[Array, " B"]
    resets: Int[Array, " B"]


class _Verdict(NamedTuple):
    """What a step means for each sample: its counts, and what becomes of its state."""

    counts: _Counts
    taken: Bool[Array, " B"]  # whether the step's state is
    spoiled: Bool[Array, " B"]  # whether all behind the frontier is set back
    guessed: Int[Array, " B"]  # where guesses begin, of which those that are not finite are set back


def _verdict(
    system: Any, solver: Solver, progress: Progress, shared: Int[Array, ""], info: StepInfo, extent: _Extent
) -> _Verdict:
    """What a step means for each sample."""
    num_equations = system.num_equations
    reopened = _changed(solver, progress, info, extent)
    # Such a sample has no more in common with the solution than the others have, if it was thought exact: one that was
    # within a tolerance may have left it by its own last step, and its exact prefix is as it was.
    lost = reopened & ((solver.tol == 0) | (progress.frontier >= num_equations))
    reached = jnp.where(lost, shared, info.frontier)
    before = jnp.where(lost, shared, progress.frontier)
    active = progress.active | reopened
    # An overflow in a guess times a masked zero is NaN, in exact equations too. So an exact equation that is not finite
    # is believed only if no guess was in play; else the sample goes back to its prefix and begins anew behind it.
    spoiled = active & (extent.broken < jnp.minimum(reached, num_equations))
    failed = spoiled & (extent.touched <= before)
    spoiled = spoiled & ~failed
    frontier = jnp.where(active & ~spoiled, reached, before)
    converged = jnp.isfinite(info.residual) & info.meets(solver.tol, progress.x) & ~spoiled
    # Within its bound of steps a solver terminates however large the residual grows on the way.
    out_of_reach = progress.limit < solver.max_steps(system)
    diverged = out_of_reach & (info.residual > DIVERGENCE_FACTOR * progress.first_residual)
    found = jnp.where(diverged, int(Status.DIVERGED), int(RUNNING))
    found = jnp.where(converged, int(Status.CONVERGED), found)
    found = jnp.where(failed, int(Status.NONFINITE), found)
    earlier = jnp.where(reopened, -1, progress.steps_to_convergence)
    steps = progress.steps + info.num_steps
    # The work of others' steps while it was done.
    missed = jnp.where(reopened, progress.steps - progress.steps_to_convergence, 0) * (info.sweeps / info.num_steps)
    counts = _Counts(
        iterations=progress.iterations,
        steps=steps,
        sweeps=jnp.where(active, progress.sweeps + info.sweeps + missed, progress.sweeps),
        status=jnp.where(active, found, progress.status).astype(jnp.int32),
        residual=jnp.where(active, info.residual, progress.residual),
        first_residual=jnp.where(jnp.isfinite(progress.first_residual), progress.first_residual, info.residual),
        frontier=frontier,
        steps_to_convergence=jnp.where(active & converged & ~failed, steps, earlier),
        resets=progress.resets + (active & (extent.broken < num_equations) & ~failed),
    )
    return _Verdict(counts, active & ~spoiled, spoiled, jnp.where(active, frontier, num_equations))


def _settled(verdict: _Verdict, x: Any, progress: Progress, num_equations: int) -> Any:
    """The state after a step, without what is not to be believed."""
    broken = ~finite_equations(x, num_equations)
    taken = select(jnp.broadcast_to(verdict.taken, broken.shape), x, progress.x)
    set_back = ~prefix_mask(verdict.guessed, num_equations) & (verdict.spoiled | broken)
    return select(set_back, progress.guess, taken)


def _guesses(system: Any) -> bool:
    """Whether a system foresees values; many have a first guess by the same name, which is no method."""
    return isinstance(system, GuessingSystem) and callable(system.guess)


def _work_of_guessing(system: Any) -> float:
    """The full sweeps that a system's guesses cost at each step."""
    return float(system.guess_sweeps) if isinstance(system, CountedGuessingSystem) else 0.0


def _foreseen(system: Any, progress: Progress) -> Progress:
    """The state with the system's own guesses behind the frontier, if it is one that guesses.

    Not where the first guess still stands: there no step has told anything yet, or one was spoiled, perhaps by a guess,
    and the sample has to take one from a state that is known not to spoil it.
    """
    if not _guesses(system):
        return progress
    guesses = system.guess(progress.previous, progress.x, progress.frontier)
    _check_alike("what guess gives", guesses, progress.x)
    open_samples = progress.active & ~_unguessed(progress, system.num_equations)
    ahead = ~prefix_mask(progress.frontier, system.num_equations) & open_samples
    usable = ahead & finite_equations(guesses, system.num_equations)
    x = select(usable, guesses, progress.x)
    return dataclasses.replace(progress, x=x, previous=x)


class _Extent(NamedTuple):
    """How far what matters of a step's state reaches, for each sample."""

    broken: Int[Array, " B"]  # the first equation that is not finite; T where all are
    touched: Int[Array, " B"]  # one more than the last that is not as the solve began, before the step
    changed: Bool[Array, " B"]  # whether any is another than before the step


def _extent(progress: Progress, x: Any, num_equations: int) -> _Extent:
    """All three of a step that led to ``x``, in one reduction: devices that share the equations wait for it once."""
    t = jnp.arange(num_equations, dtype=jnp.int32)[:, None]
    differs = by_equation(lambda a, b: jnp.any(a != b, axis=-1), jnp.logical_or, num_equations, x, progress.x)
    rows = [
        jnp.where(finite_equations(x, num_equations), num_equations, t),
        jnp.where(_touched(progress, num_equations), -1 - t, 0),
        -differs.astype(jnp.int32),
    ]
    first, last, changed = jnp.min(jnp.stack(rows), axis=1)
    return _Extent(first, -last, changed < 0)


def _changed(solver: Solver, progress: Progress, info: StepInfo, extent: _Extent) -> Bool[Array, " B"]:
    """Which samples were done and are no solution any more.

    A sample that is done keeps its value, and steps go on to be taken of the whole batch. If samples read each other,
    as they should not, one that seemed done changes when others do, and a step sees that at no cost of its own.
    """
    if batch_size(progress.x) == 1:  # a solve ends with its only sample
        return jnp.zeros(1, bool)
    changed = ~info.meets(solver.tol, progress.x) if solver.tol else extent.changed
    return (progress.status == Status.CONVERGED) & changed


def _unguessed(progress: Progress, num_equations: int) -> Bool[Array, " B"]:
    """Whether everything beyond the frontier is as the solve began."""
    return ~jnp.any(_touched(progress, num_equations) & ~prefix_mask(progress.frontier, num_equations), axis=0)


def _touched(progress: Progress, num_equations: int) -> Bool[Array, "T B"]:
    """Which equations are not as the solve began."""

    def touched(x: Array, guess: Array) -> Array:
        return jnp.any((x != guess) & ~(jnp.isnan(x) & jnp.isnan(guess)), axis=-1)

    return by_equation(touched, jnp.logical_or, num_equations, progress.x, progress.guess)
