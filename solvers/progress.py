"""A solve between two steps, and the trace that it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from .equations import compare
from .solution import Status, Trace
from .trees.pytree import pytree

RUNNING = Status.MAX_STEPS_REACHED  # the status of a sample until something better or worse is known


@dataclass(frozen=True)
class TraceOptions:
    """Ask for a trace, and for errors against ``reference`` (a state) if there is one."""

    reference: PyTree[Any] | None = None


class StepReport(NamedTuple):
    """How far a solve has come with a step, for those who watch; arrays of numpy."""

    iteration: Int[Array | np.ndarray, ""]  # steps of the solver so far, this one included
    num_steps: Int[Array | np.ndarray, ""]  # sequential network evaluations so far
    residual: Float[Array | np.ndarray, " B"]
    frontier: Int[Array | np.ndarray, " B"]  # length of the prefix known to be exact


@pytree
@dataclass(frozen=True)
class Progress:
    """A solve between two steps, with everything that is needed to go on.

    What is counted is kept for each sample, even ``iterations`` and ``steps``, which are the same in all: a number for
    itself would cost an accelerator the start of a kernel at every step, and devices that share the batch a message.
    """

    x: Any
    guess: Any  # the state that the solve began with, and that guesses are reset to
    solver_state: Any
    iterations: Int[Array, " B"]  # steps of the solver, without those that a guess spoiled in a sample
    limit: Int[Array, ""]  # max_steps, for iterations
    steps: Int[Array, " B"]  # sequential network evaluations
    sweeps: Float[Array, " B"]  # their cost in full sweeps, until the sample was done
    status: Int[Array, " B"]
    residual: Float[Array, " B"]
    first_residual: Float[Array, " B"]
    frontier: Int[Array, " B"]
    steps_to_convergence: Int[Array, " B"]
    resets: Int[Array, " B"]  # steps after which guesses were set back, as they were not finite
    trace: Trace | None
    reference: Any
    previous: Any = None  # the state that the last step began with, of a system that guesses

    @property
    def active(self) -> Bool[Array, " B"]:
        """The samples that still need steps."""
        return self.status == RUNNING

    @property
    def iteration(self) -> Int[Array, ""]:
        """The steps of the solver so far, without those that a guess spoiled."""
        return jnp.max(self.iterations, initial=0)

    @property
    def num_steps(self) -> Int[Array, ""]:
        """The sequential network evaluations so far."""
        return jnp.max(self.steps, initial=0)

    @property
    def unfinished(self) -> Bool[Array, ""]:
        """Whether another step is needed and allowed."""
        return jnp.any(self.active) & (self.iteration < self.limit)


def empty_trace(length: int, batch: int) -> Trace:
    """A trace of ``length`` iterations that has no row written."""
    return Trace(
        num_steps=jnp.full(length, -1, jnp.int32),
        residual=jnp.full((length, batch), jnp.nan),
        frontier=jnp.zeros((length, batch), jnp.int32),
        error=jnp.full((length, batch), jnp.nan),
    )


def grow_trace(trace: Trace | None, length: int) -> Trace | None:
    """The trace with room for ``length`` iterations, for a solve that goes on beyond its first limit."""
    if trace is None or trace.num_steps.shape[0] >= length:
        return trace
    empty = empty_trace(length - trace.num_steps.shape[0], trace.residual.shape[1])
    grown: Trace = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), trace, empty)
    return grown


def record(progress: Progress, num_equations: int) -> Trace | None:
    """The trace with a row for the iteration just done."""
    trace = progress.trace
    if trace is None:
        return None
    row = progress.iteration - 1
    error = trace.error
    if progress.reference is not None:
        distance = compare(progress.x, progress.reference, num_equations).residual
        error = error.at[row].set(distance.astype(error.dtype))
    return Trace(
        num_steps=trace.num_steps.at[row].set(progress.num_steps),
        residual=trace.residual.at[row].set(progress.residual),
        frontier=trace.frontier.at[row].set(progress.frontier),
        error=error,
    )
