"""The parameters of cells whose units do not read one another, with the first weights of their papers.

The cells themselves are in models/rnn/unitwise.py.
"""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.rnn.cell import RecurrentCell
from models.rnn.model import CellModule, RNNConfig
from models.rnn.unitwise import LRUCell, MinGRUCell, ParaGRUCell, ParaLSTMCell

_LRU_PHASE = 6.28  # the largest angle of an eigenvalue of the LRU, in radians


class ParaGRU(CellModule):
    """The parameters of a gated recurrent unit with diagonal recurrent matrices, ParaGRUCell.

    As in the code published with arXiv 2510.21450: recurrent weights normal with standard deviation 2 / sqrt(5 H),
    input weights uniform as Glorot has it, biases zero, but those of z from 0 to 1, so that units forget at different
    rates.
    """

    folded: ClassVar[type[RecurrentCell]] = ParaGRUCell
    _spread: ClassVar[tuple[int, float]] = (1, 1.0)  # the gate whose biases differ, z, and how far they go

    def _draw(self, config: RNNConfig, rngs: nnx.Rngs) -> dict[str, Array]:
        gates, units = self.folded.num_gates, config.hidden_size
        gate, end = self._spread
        return {
            "input_kernel": _input_weights(config, gates, rngs),
            "kernel": _unit_weights(config, gates, rngs),
            "bias": jnp.zeros((gates, units)).at[gate].set(jnp.linspace(0.0, end, units)).ravel(),
        }


class ParaLSTM(ParaGRU):
    """The parameters of long short-term memory with diagonal recurrent matrices, ParaLSTMCell.

    As in the code published with arXiv 2510.21450: peepholes like the recurrent weights, the biases of f from 0 to -1,
    the rest as for ParaGRU.
    """

    folded = ParaLSTMCell
    _spread = (0, -1.0)

    def _draw(self, config: RNNConfig, rngs: nnx.Rngs) -> dict[str, Array]:
        return {**super()._draw(config, rngs), "peepholes": _unit_weights(config, 2, rngs)}


class MinGRU(CellModule):
    """The parameters of the minimal gated recurrent unit, MinGRUCell: input weights uniform as Glorot has it."""

    folded = MinGRUCell

    def _draw(self, config: RNNConfig, rngs: nnx.Rngs) -> dict[str, Array]:
        return {"input_kernel": _input_weights(config, 2, rngs), "bias": jnp.zeros(2 * config.hidden_size)}


class LRU(CellModule):
    """The parameters of the linear recurrent unit, LRUCell, as arXiv 2303.06349 draws them.

    Eigenvalues lambda uniform on the unit disk; B normal with variance 1 / (2 I) in each part; exp(gamma) = sqrt(1 -
    |lambda|^2), which gives every unit the variance of its drive.
    """

    folded = LRUCell

    def _draw(self, config: RNNConfig, rngs: nnx.Rngs) -> dict[str, Array]:
        inputs, units = config.num_inputs, config.hidden_size
        kernel = jax.random.normal(rngs.params(), (inputs, 2 * units)) / math.sqrt(2 * inputs)
        # The square of a radius that is uniform on the disk is uniform; neither end has a logarithm.
        square = jax.random.uniform(rngs.params(), (units,), minval=1e-6, maxval=1.0 - 1e-6)
        angle = jax.random.uniform(rngs.params(), (units,), minval=1e-6, maxval=_LRU_PHASE)
        return {
            "input_kernel": kernel,
            "nu": jnp.log(-0.5 * jnp.log(square)),
            "theta": jnp.log(angle),
            "gamma": 0.5 * jnp.log(1.0 - square),
        }


def _input_weights(config: RNNConfig, num_gates: int, rngs: nnx.Rngs) -> Float[Array, "I F"]:
    """The input weights of all gates side by side, each gate's uniform with variance 2 / (I + H)."""
    shape = (config.num_inputs, num_gates * config.hidden_size)
    if config.init_scale is not None:
        return config.init_scale * jax.random.normal(rngs.params(), shape)
    limit = math.sqrt(6.0 / (config.num_inputs + config.hidden_size))
    return jax.random.uniform(rngs.params(), shape, minval=-limit, maxval=limit)


def _unit_weights(config: RNNConfig, num_gates: int, rngs: nnx.Rngs) -> Float[Array, "G H"]:
    """A weight for each gate and unit, normal with standard deviation gain * 2 / sqrt(5 H)."""
    scale = config.init_scale
    if scale is None:
        scale = (1.0 if config.gain is None else config.gain) * 2.0 / math.sqrt(5.0 * config.hidden_size)
    return scale * jax.random.normal(rngs.params(), (num_gates, config.hidden_size))
