"""An RNN's gradient where any solver does the backward pass, and how near it comes to the reference by step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from models.rnn.gradients import backward_system, parameter_gradients
from models.rnn.network import RNNNetwork
from models.rnn.systems import BackwardRNN
from runners.config.solvers import SolverEntry
from runners.measure.processes import gathered
from solvers import Status, Trace, TraceOptions, solve
from solvers.equations import magnitude

TOLERANCE = 1e-5  # the relative error from which on a gradient counts as found


class BackwardPass(NamedTuple):
    """The backward pass that follows a forward pass.

    The gradients that ``system`` solves for are, for each sample, those of the loss times 2 ** -exponent, which brings
    the largest of b to between 1/2 and 1. So a solver's tolerance means the same for any loss, and as powers of two
    change no digit, nothing is rounded.
    """

    loss: Float[Array, ""]
    states: Any  # h, leaves (T, B, H)
    system: BackwardRNN
    exponent: Int[Array, " B"]


class Gradients(NamedTuple):
    """What a backward pass gives, and what it took."""

    parameters: RNNNetwork
    num_steps: Int[Array, ""]
    converged: Array


def backward_pass(model: RNNNetwork, inputs: Float[Array, "T B I"]) -> BackwardPass:
    """The forward pass, one pixel after the other, and the equations of its gradient."""
    states = model.states(inputs)
    system = backward_system(model, inputs, states, inputs)
    _, exponent = jnp.frexp(jnp.max(jnp.abs(system.source), axis=(0, 2)))
    scaled = dataclasses.replace(system, source=jnp.ldexp(system.source, -exponent[:, None]))
    return BackwardPass(model.loss(states, inputs), states, scaled, exponent)


def solved_gradients(
    model: RNNNetwork, inputs: Float[Array, "T B I"], backward: BackwardPass, entry: SolverEntry
) -> Gradients:
    """The parameters' gradients, with the states' as they stand when the solver has converged or is stopped."""
    solution = solve(backward.system, entry.solver, max_steps=entry.max_steps, throw=False)
    gradients = BackwardRNN.in_time(jnp.ldexp(solution.value, backward.exponent[:, None]))
    parameters = parameter_gradients(model, inputs, backward.states, gradients)
    solved = entry.judged(Status.CONVERGED) is Status.CONVERGED  # else a rough answer would do
    return Gradients(parameters, solution.stats.num_steps, (solution.status == Status.CONVERGED) & solved)


def plain_gradients(model: RNNNetwork, inputs: Float[Array, "T B I"]) -> RNNNetwork:
    """The same by reverse-mode differentiation of the whole loss: what the others are held against."""
    gradients: RNNNetwork = jax.grad(lambda model: model.loss(model.states(inputs), inputs))(model)
    return gradients


def relative_deviation(gradients: RNNNetwork, reference: RNNNetwork) -> Float[Array, ""]:
    """The largest over the parameters of max |g - reference| / max |reference|."""

    def deviation(a: Array, b: Array) -> Array:
        return jnp.max(jnp.abs(a - b)) / jnp.maximum(jnp.max(jnp.abs(b)), jnp.finfo(b.dtype).tiny)

    return jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(deviation, gradients, reference))))


@dataclass(frozen=True)
class GradientErrors:
    """max |g - reference| / max |reference| over all states' gradients, after each iteration, for N sequences."""

    num_steps: Int[np.ndarray, " S"]  # sequential steps so far
    error: Float[np.ndarray, "S N"]

    def steps_to(self, tolerance: float) -> list[int | None]:
        """For each sequence the steps after which its error is, and stays, at most ``tolerance``; None: never."""
        bad = [np.flatnonzero(~(errors <= tolerance)) for errors in self.error.T]  # the number after the last is good
        first = [rows[-1] + 1 if len(rows) else 0 for rows in bad]
        return [int(self.num_steps[row]) if row < len(self.num_steps) else None for row in first]

    def mean_after(self, num_steps: int) -> float:
        """The mean error once so many steps are done; 1, that of the first guess, zero, before the first."""
        done = np.searchsorted(self.num_steps, num_steps, side="right")
        return float(self.error[done - 1].mean()) if done else 1.0


def gradient_errors(entry: SolverEntry, system: Any, reference: Any) -> GradientErrors:
    """The errors of a solver against ``reference`` on the way to the answer of ``system``."""
    trace, size = jax.tree.map(np.asarray, gathered(_traced(entry, system, reference)))
    written = trace.num_steps >= 0
    error = trace.error[written].astype(float)
    # Where the whole gradient is zero, whatever else is found is infinitely wrong.
    relative = np.divide(error, size, out=np.full_like(error, np.inf), where=size > 0)
    return GradientErrors(trace.num_steps[written], np.where(error == 0, 0.0, relative))


@partial(jax.jit, static_argnames="entry")
def _traced(entry: SolverEntry, system: Any, reference: Any) -> tuple[Trace | None, Float[Array, " N"]]:
    options = TraceOptions(reference)
    solution = solve(system, entry.solver, max_steps=entry.max_steps, trace=options, throw=False)
    return solution.trace, magnitude(reference)
