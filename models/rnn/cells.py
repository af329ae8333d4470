"""Recurrent cells whose units read one another: parameters as plain arrays, and derivatives by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.table import Table
from models.layers.products import matmul
from models.rnn.cell import RecurrentCell
from models.rnn.jacobian import CellJacobian
from solvers.trees.pytree import pytree

# Activations, each with its derivative.
ACTIVATIONS: Table[Callable[[Array], tuple[Array, Array]]] = Table(
    "activation",
    {
        "softplus": "models.rnn.cells:softplus",
        "tanh": "models.rnn.cells:tanh",
        "linear": "models.rnn.cells:linear",
    },
)


def softplus(a: Array) -> tuple[Array, Array]:
    """log(1 + exp(a)), and its derivative."""
    return jax.nn.softplus(a), jax.nn.sigmoid(a)


def tanh(a: Array) -> tuple[Array, Array]:
    """The hyperbolic tangent of a, and its derivative."""
    value = jnp.tanh(a)
    return value, 1.0 - value * value


def linear(a: Array) -> tuple[Array, Array]:
    """The identity, and its derivative."""
    return a, jnp.ones_like(a)


@dataclass(frozen=True)
class DenseCell(RecurrentCell):
    """A cell whose gates read h_{t-1} W + x_t U + b, where W (H, G * H) lets each unit read all others."""

    kernel: Float[Array, "H F"]
    bias: Float[Array, " F"]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        wide = self.num_gates * self.hidden_size
        return {"input_kernel": (self.num_inputs, wide), "kernel": (self.hidden_size, wide), "bias": (wide,)}

    @property
    def hidden_size(self) -> int:
        """H, the number of hidden units."""
        return int(self.kernel.shape[0])

    def project(self, inputs: Float[Array, "*S I"]) -> Float[Array, "*S F"]:
        """The drive: what the inputs contribute to the gates, with the bias."""
        return super().project(inputs) + self.bias


@pytree
@dataclass(frozen=True)
class ElmanCell(DenseCell):
    """h' = act(x U + b + h W) (Elman, "Finding structure in time", Cognitive Science 14, 1990)."""

    num_gates: ClassVar[int] = 1

    activation: str = field(default="softplus", metadata={"static": True})  # a name in ACTIVATIONS

    def __post_init__(self) -> None:
        ACTIVATIONS.check(self.activation)
        super().__post_init__()

    def linearize(
        self, state: Float[Array, "*S H"], drive: Float[Array, "*S F"]
    ) -> tuple[Float[Array, "*S H"], CellJacobian]:
        """J = diag(act'(a)) W^T."""
        new, slope = ACTIVATIONS[self.activation](drive + matmul(state, self.kernel))
        return new, CellJacobian(self.kernel, (jnp.zeros_like(slope),), ((slope,),))


@pytree
@dataclass(frozen=True)
class GRUCell(DenseCell):
    """The gated recurrent unit, gates in the order r, z, n, the reset gate applied after the product with W_n.

        r = sigmoid(x U_r + b_r + h W_r)        z = sigmoid(x U_z + b_z + h W_z)
        n = tanh(x U_n + b_n + r * (h W_n))     h' = (1 - z) * n + z * h

    (Cho et al., EMNLP 2014, arXiv 1406.1078; there r multiplies h before the product.) These are the equations of
    flax's GRUCell, whose dense_i and dense_h hold the same weights; h W_n has no bias of its own.
    """

    num_gates: ClassVar[int] = 3

    def linearize(
        self, state: Float[Array, "*S H"], drive: Float[Array, "*S F"]
    ) -> tuple[Float[Array, "*S H"], CellJacobian]:
        """J = diag(z) + diag((h - n) z') W_z^T + diag((1 - z) n') (diag(r) W_n^T + diag(r' * (h W_n)) W_r^T)."""
        drive_r, drive_z, drive_n = jnp.split(drive, 3, axis=-1)
        read_r, read_z, read_n = jnp.split(matmul(state, self.kernel), 3, axis=-1)
        r, z = jax.nn.sigmoid(drive_r + read_r), jax.nn.sigmoid(drive_z + read_z)
        n = jnp.tanh(drive_n + r * read_n)
        slope = (1.0 - z) * (1.0 - n * n)
        gates = (slope * read_n * r * (1.0 - r), (state - n) * z * (1.0 - z), slope * r)
        new = (1.0 - z) * n + z * state
        return new, CellJacobian(self.kernel, (z,), (gates,))


@pytree
@dataclass(frozen=True)
class LSTMCell(DenseCell):
    """Long short-term memory, gates in the order i, f, g, o; a state is {"c", "h"}.

        i, f, o = sigmoid(x U + b + h W)    g = tanh(x U_g + b_g + h W_g)
        c' = f * c + i * g                  h' = o * tanh(c')

    (Hochreiter and Schmidhuber, Neural Computation 9, 1997, with the forget gate of Gers et al., 2000; no peepholes.)
    These are the equations of flax's LSTMCell, with its eight layers side by side.
    """

    num_gates: ClassVar[int] = 4

    def initial_state(self, batch: int) -> dict[str, Float[Array, "B H"]]:
        """Zeros, (batch, H) in each part."""
        return {"c": super().initial_state(batch), "h": super().initial_state(batch)}

    def linearize(
        self, state: dict[str, Float[Array, "*S H"]], drive: Float[Array, "*S F"]
    ) -> tuple[dict[str, Float[Array, "*S H"]], CellJacobian]:
        """The part of c reads c by diag(f), h by diag(g i') W_i^T + diag(c f') W_f^T + diag(i g') W_g^T; h' follows."""
        i, f, g, o = jnp.split(drive + matmul(state["h"], self.kernel), 4, axis=-1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        c = f * state["c"] + i * g
        squashed = jnp.tanh(c)
        slope = o * (1.0 - squashed * squashed)  # dh' / dc'
        to_c = (g * i * (1.0 - i), state["c"] * f * (1.0 - f), i * (1.0 - g * g))
        to_h = tuple(slope * gate for gate in to_c)
        gates = ((*to_c, jnp.zeros_like(o)), (*to_h, squashed * o * (1.0 - o)))
        jacobian = CellJacobian(self.kernel, (f, slope * f), gates)
        return {"c": c, "h": o * squashed}, jacobian

    def output(self, state: dict[str, Float[Array, "*S H"]]) -> Float[Array, "*S H"]:
        """The part h of a state, which a layer above reads."""
        return state["h"]

    def unravel(self, features: Float[Array, "*S _"]) -> dict[str, Float[Array, "*S H"]]:
        """The inverse of ``ravel``: the part c comes before h."""
        c, h = jnp.split(features, 2, axis=-1)
        return {"c": c, "h": h}
