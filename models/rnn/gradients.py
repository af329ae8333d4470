"""The gradient of a recurrent network's loss by way of its states' gradients, for parallel backpropagation.

With the forward pass h_t = cell(h_{t-1}, x_t; w) and a loss L(h_0 .. h_{T-1}), the total derivatives g_t = dL/dh_t obey

    g_t = b_t + J_{t+1}^T g_{t+1},    b_t = the partial derivative of L with respect to h_t,

a linear system, backward in time (BackwardRNN), which any solver may solve. Then dL/dw = sum_t (d cell_t / dw)^T g_t,
in which no term waits for another (Werbos, "Backpropagation through time", Proceedings of the IEEE 78, 1990).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Float

from models.rnn.cell import RecurrentCell
from models.rnn.network import RNNNetwork
from models.rnn.systems import BackwardRNN
from solvers.systems.recurrence import shifted


def output_gradients(model: RNNNetwork, states: Any, targets: Float[Array, "T B O"]) -> Any:
    """The loss's partial derivatives b with respect to the states, laid out like them."""
    return jax.grad(lambda states: model.loss(states, targets))(states)


def backward_system(
    model: RNNNetwork, inputs: Float[Array, "T B I"], states: Any, targets: Float[Array, "T B O"]
) -> BackwardRNN:
    """The equations of the states' gradients, where ``states`` solve the forward pass on ``inputs``."""
    gradients = output_gradients(model, states, targets)
    return BackwardRNN.of(model.cell, states, model.cell.project(inputs), gradients)


def parameter_gradients(
    model: RNNNetwork,
    inputs: Float[Array, "T B I"],
    states: Any,
    gradients: Float[Array, "T B D"],
    targets: Float[Array, "T B O"] | None = None,
) -> RNNNetwork:
    """The loss's gradient with respect to every parameter, as jax.grad gives it for ``model``.

    Args:
        model: the network.
        inputs: x.
        states: the solution of the forward pass, leaves (T, batch, H).
        gradients: the solution of ``backward_system`` in the order of time: ``BackwardRNN.in_time`` of it.
        targets: what the output should be; default: the inputs.
    """
    targets = inputs if targets is None else targets
    previous = shifted(model.cell.initial_state(inputs.shape[1]), states)

    def steps(cell: RecurrentCell) -> Any:
        return cell.step(previous, cell.project(inputs))

    def loss(kernel: Array, bias: Array) -> Array:
        return dataclasses.replace(model, kernel=kernel, bias=bias).loss(states, targets)

    (of_cell,) = jax.vjp(steps, model.cell)[1](model.cell.unravel(gradients))
    of_kernel, of_bias = jax.grad(loss, argnums=(0, 1))(model.kernel, model.bias)
    return RNNNetwork(of_cell, of_kernel, of_bias)
