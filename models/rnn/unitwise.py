"""Recurrent cells whose units do not read one another, so that their Jacobians are diagonal, or small blocks.

Layers of them learn what dense cells do by mixing units between layers, and Newton's method costs O(T D) a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.rnn.cell import AffineCell, UnitwiseCell
from models.rnn.jacobian import UnitJacobian
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class ParaGRUCell(UnitwiseCell):
    """The gated recurrent unit with diagonal recurrent matrices a, gates in the order r, z, n.

        r = sigmoid(x U_r + b_r + a_r * h)        z = sigmoid(x U_z + b_z + a_z * h)
        n = tanh(x U_n + b_n + r * a_n * h)       h' = (1 - z) * n + z * h

    (Danieli et al., "ParaRNN: Unlocking parallel training of nonlinear RNNs for large language models", 2025, arXiv
    2510.21450; what is z here is 1 - z there.) This is GRUCell with W = (diag(a_r), diag(a_z), diag(a_n)).
    """

    num_gates: ClassVar[int] = 3

    kernel: Float[Array, "3 H"]  # a, a row for each gate
    bias: Float[Array, " F"]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        wide = self.num_gates * self.hidden_size
        return {"input_kernel": (self.num_inputs, wide), "kernel": (3, self.hidden_size), "bias": (wide,)}

    @property
    def hidden_size(self) -> int:
        """H, the number of hidden units."""
        return int(self.kernel.shape[-1])

    def project(self, inputs: Float[Array, "*S I"]) -> Float[Array, "*S F"]:
        """The drive: what the inputs contribute to the gates, with the bias."""
        return super().project(inputs) + self.bias

    def linearize(
        self, state: Float[Array, "*S H"], drive: Float[Array, "*S F"]
    ) -> tuple[Float[Array, "*S H"], UnitJacobian]:
        """J = diag(z + (h - n) z' a_z + (1 - z) n' a_n (r + r' a_r h))."""
        (a_r, a_z, a_n), (drive_r, drive_z, drive_n) = self.kernel, jnp.split(drive, 3, axis=-1)
        r, z = jax.nn.sigmoid(drive_r + a_r * state), jax.nn.sigmoid(drive_z + a_z * state)
        n = jnp.tanh(drive_n + r * a_n * state)
        through_n = (1.0 - z) * (1.0 - n * n) * a_n * (r + r * (1.0 - r) * a_r * state)
        slope = z + (state - n) * z * (1.0 - z) * a_z + through_n
        return (1.0 - z) * n + z * state, UnitJacobian(((slope,),))


@pytree
@dataclass(frozen=True)
class ParaLSTMCell(UnitwiseCell):
    """Long short-term memory with diagonal recurrent matrices a and peepholes p; a state is {"c", "h"}.

    Gates in the order f, o, g; the input gate is coupled to the forget gate, i = 1 - f:

        f = sigmoid(x U_f + b_f + a_f * h + p_f * c)      g = tanh(x U_g + b_g + a_g * h)
        c' = f * c + (1 - f) * g
        o = sigmoid(x U_o + b_o + a_o * h + p_o * c')     h' = o * tanh(c')

    (Danieli et al., "ParaRNN: Unlocking parallel training of nonlinear RNNs for large language models", 2025, arXiv
    2510.21450; coupled gates and peepholes: Greff et al., "LSTM: A search space odyssey", arXiv 1503.04069.)
    """

    num_gates: ClassVar[int] = 3

    kernel: Float[Array, "3 H"]  # a, a row for each gate
    peepholes: Float[Array, "2 H"]  # p, of f and o
    bias: Float[Array, " F"]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        wide, units = self.num_gates * self.hidden_size, self.hidden_size
        return {
            "input_kernel": (self.num_inputs, wide),
            "kernel": (3, units),
            "peepholes": (2, units),
            "bias": (wide,),
        }

    @property
    def hidden_size(self) -> int:
        """H, the number of hidden units."""
        return int(self.kernel.shape[-1])

    def project(self, inputs: Float[Array, "*S I"]) -> Float[Array, "*S F"]:
        """The drive: what the inputs contribute to the gates, with the bias."""
        return super().project(inputs) + self.bias

    def initial_state(self, batch: int) -> dict[str, Float[Array, "B H"]]:
        """Zeros, (batch, H) in each part."""
        return {"c": super().initial_state(batch), "h": super().initial_state(batch)}

    def linearize(
        self, state: dict[str, Float[Array, "*S H"]], drive: Float[Array, "*S F"]
    ) -> tuple[dict[str, Float[Array, "*S H"]], UnitJacobian]:
        """A 2 x 2 block for each unit: c' reads c and h, and h' reads them through c', and h through o as well."""
        (a_f, a_o, a_g), (p_f, p_o) = self.kernel, self.peepholes
        drive_f, drive_o, drive_g = jnp.split(drive, 3, axis=-1)
        f = jax.nn.sigmoid(drive_f + a_f * state["h"] + p_f * state["c"])
        g = jnp.tanh(drive_g + a_g * state["h"])
        c = f * state["c"] + (1.0 - f) * g
        o = jax.nn.sigmoid(drive_o + a_o * state["h"] + p_o * c)
        squashed = jnp.tanh(c)
        by_f = (state["c"] - g) * f * (1.0 - f)  # dc' / d what the sigmoid of f reads
        by_o = squashed * o * (1.0 - o)
        c_by_c, c_by_h = f + by_f * p_f, by_f * a_f + (1.0 - f) * (1.0 - g * g) * a_g
        h_by_new_c = o * (1.0 - squashed * squashed) + by_o * p_o
        entries = ((c_by_c, c_by_h), (h_by_new_c * c_by_c, h_by_new_c * c_by_h + by_o * a_o))
        return {"c": c, "h": o * squashed}, UnitJacobian(entries)

    def output(self, state: dict[str, Float[Array, "*S H"]]) -> Float[Array, "*S H"]:
        """The part h of a state, which a layer above reads."""
        return state["h"]

    def unravel(self, features: Float[Array, "*S _"]) -> dict[str, Float[Array, "*S H"]]:
        """The inverse of ``ravel``: the part c comes before h."""
        c, h = jnp.split(features, 2, axis=-1)
        return {"c": c, "h": h}


@pytree
@dataclass(frozen=True)
class MinGRUCell(AffineCell):
    """The minimal gated recurrent unit, whose gates read the inputs alone; gates in the order z, n.

        z = sigmoid(x U_z + b_z)        n = x U_n + b_n        h' = (1 - z) * n + z * h

    (Feng et al., "Were RNNs all we needed?", 2024, arXiv 2410.01201; what is z here is 1 - z there.)
    """

    num_gates: ClassVar[int] = 2

    bias: Float[Array, " F"]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"input_kernel": (self.num_inputs, 2 * self.hidden_size), "bias": (2 * self.hidden_size,)}

    @property
    def hidden_size(self) -> int:
        """H, the number of hidden units."""
        return int(self.bias.shape[0]) // 2

    def project(self, inputs: Float[Array, "*S I"]) -> Float[Array, "*S F"]:
        """The drive: what the inputs contribute to the gates, with the bias."""
        return super().project(inputs) + self.bias

    def linearize(
        self, state: Float[Array, "*S H"], drive: Float[Array, "*S F"]
    ) -> tuple[Float[Array, "*S H"], UnitJacobian]:
        """J = diag(z)."""
        drive_z, n = jnp.split(drive, 2, axis=-1)
        z = jax.nn.sigmoid(drive_z)
        return (1.0 - z) * n + z * state, UnitJacobian(((z,),))


@pytree
@dataclass(frozen=True)
class LRUCell(AffineCell):
    """The linear recurrent unit, a complex diagonal recurrence; a state is {"imaginary", "real"}.

        h' = lambda * h + exp(gamma) * (x B),    lambda = exp(-exp(nu) + i exp(theta)),  so that |lambda| < 1

    (Orvieto et al., "Resurrecting recurrent neural networks for long sequences", ICML 2023, arXiv 2303.06349; there nu,
    theta and gamma are called nu^log, theta^log and gamma^log.) The output is both parts side by side: a linear map
    of them is the paper's Re(C h). Its term D x is left to the layer above.
    """

    num_gates: ClassVar[int] = 2
    output_parts: ClassVar[int] = 2

    # The inherited input_kernel is B, its imaginary and its real part side by side.
    nu: Float[Array, " H"]
    theta: Float[Array, " H"]
    gamma: Float[Array, " H"]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        units = (self.hidden_size,)
        return {
            "input_kernel": (self.num_inputs, 2 * self.hidden_size),
            "nu": units,
            "theta": units,
            "gamma": units,
        }

    @property
    def hidden_size(self) -> int:
        """H, the number of complex hidden units."""
        return int(self.nu.shape[0])

    def project(self, inputs: Float[Array, "*S I"]) -> Float[Array, "*S F"]:
        """The drive exp(gamma) * (x B), its imaginary and its real part side by side."""
        return super().project(inputs) * jnp.tile(jnp.exp(self.gamma), 2)

    def initial_state(self, batch: int) -> dict[str, Float[Array, "B H"]]:
        """Zeros, (batch, H) in each part."""
        return {"imaginary": super().initial_state(batch), "real": super().initial_state(batch)}

    def linearize(
        self, state: dict[str, Float[Array, "*S H"]], drive: Float[Array, "*S F"]
    ) -> tuple[dict[str, Float[Array, "*S H"]], UnitJacobian]:
        """A 2 x 2 block for each unit, the product with lambda."""
        size, angle = jnp.exp(-jnp.exp(self.nu)), jnp.exp(self.theta)
        drive_imaginary, drive_real = jnp.split(drive, 2, axis=-1)
        real, imaginary = (
            jnp.broadcast_to(part, drive_real.shape) for part in (size * jnp.cos(angle), size * jnp.sin(angle))
        )
        new = {
            "imaginary": real * state["imaginary"] + imaginary * state["real"] + drive_imaginary,
            "real": real * state["real"] - imaginary * state["imaginary"] + drive_real,
        }
        return new, UnitJacobian(((real, imaginary), (-imaginary, real)))

    def output(self, state: dict[str, Float[Array, "*S H"]]) -> Float[Array, "*S _"]:
        """Both parts of a state, which a layer above reads."""
        return self.ravel(state)

    def unravel(self, features: Float[Array, "*S _"]) -> dict[str, Float[Array, "*S H"]]:
        """The inverse of ``ravel``: the imaginary part comes first."""
        imaginary, real = jnp.split(features, 2, axis=-1)
        return {"imaginary": imaginary, "real": real}
