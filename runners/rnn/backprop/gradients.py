"""An RNN's gradient where any solver does the backward pass."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.rnn.gradients import backward_system, parameter_gradients
from models.rnn.network import RNNNetwork
from models.rnn.systems import BackwardRNN
from runners.config.solvers import SolverEntry
from solvers import Status, solve


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
    return Gradients(parameters, solution.stats.num_steps, solution.status == Status.CONVERGED)


def plain_gradients(model: RNNNetwork, inputs: Float[Array, "T B I"]) -> RNNNetwork:
    """The same by reverse-mode differentiation of the whole loss: what the others are held against."""
    gradients: RNNNetwork = jax.grad(lambda model: model.loss(model.states(inputs), inputs))(model)
    return gradients


def relative_deviation(gradients: RNNNetwork, reference: RNNNetwork) -> Float[Array, ""]:
    """The largest over the parameters of max |g - reference| / max |reference|."""

    def deviation(a: Array, b: Array) -> Array:
        return jnp.max(jnp.abs(a - b)) / jnp.maximum(jnp.max(jnp.abs(b)), jnp.finfo(b.dtype).tiny)

    return jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(deviation, gradients, reference))))
