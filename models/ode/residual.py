"""A residual network whose layers are equations: depth in the place of time."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvers.systems.recurrence import Recurrence
from solvers.trees.blocks import Start, take_block
from solvers.trees.pytree import pytree

_EPSILON = 1e-6  # beside a mean square


@pytree
@dataclass(frozen=True)
class ResidualNetwork(Recurrence):
    """x_t = x_{t-1} + V_t relu(U_t x_{t-1} / rms(x_{t-1}) + b_t), the states after each of T layers.

    Each layer adds little to what it reads, so that the identity stands for its Jacobian: ``picard`` adds up the
    increments of all layers at once (SNLP, arXiv 2605.17842, where that is called identity Newton; as a way to
    evaluate layers in parallel: DeepPCR, arXiv 2309.16318). Satisfies all that Recurrence does.
    """

    up: Float[Array, "T D H"]  # U, as (inputs, outputs)
    bias: Float[Array, "T H"]
    down: Float[Array, "T H D"]  # V
    inputs: Float[Array, "B D"]  # what the first layer reads

    @property
    def initial_state(self) -> Float[Array, "B D"]:
        """The state before layer 0."""
        return self.inputs

    @property
    def num_equations(self) -> int:
        """The number of layers, T."""
        return int(self.bias.shape[0])

    def transitions(self, previous: Float[Array, "S B D"], start: Start) -> Float[Array, "S B D"]:
        """Layers start, start + 1, ..., each on its row of ``previous``; see Recurrence."""
        up, bias, down = take_block((self.up, self.bias, self.down), start, previous.shape[0])
        scale = jnp.sqrt(jnp.mean(previous**2, axis=-1, keepdims=True) + _EPSILON)
        hidden = jax.nn.relu(jnp.matmul(previous / scale, up) + bias[:, None])
        return previous + jnp.matmul(hidden, down)
