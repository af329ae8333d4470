"""Recurrent networks: Elman's, GRU and LSTM cells with a linear output, as NNX modules.

``fold`` gives the inference forms and that state the systems: models/rnn/cells.py, models/rnn/network.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from common.names import unknown
from common.table import Table
from models.rnn.cells import ACTIVATIONS, ElmanCell, GRUCell, LSTMCell, RecurrentCell
from models.rnn.network import RNNNetwork

_PUBLISHED_SCALE = 0.1
_RECURRENT = ("normal", "orthogonal")


@dataclass(frozen=True)
class RNNConfig:
    """The architecture and its first weights, as in configs. Biases begin at zero.

    Weights are drawn in one of two ways:

    - ``init_scale`` given: all of them normal with this standard deviation; published: 0.1, what an Elman cell gets by
      default.
    - else, or with ``gain``: input and output weights normal with variance 1 / (inputs); recurrent weights ``gain``
      (default 1) times a random matrix, ``recurrent`` "normal" (entries of variance 1 / H; default of Elman cells) or
      "orthogonal" (default of GRU and LSTM, which are then initialized as flax does).

    An Elman cell with tanh contracts for certain where its recurrent matrix is orthogonal with a gain below 1. With
    normal weights of variance gain^2 / H, large H (64, say) and weak inputs it forgets its state where gain < 1 and is
    chaotic where gain > 1 (Sompolinsky, Crisanti and Sommers, "Chaos in random neural networks", Physical Review
    Letters 61, 1988); inputs suppress chaos, which a gain of 3 to 4 outdoes.
    """

    cell: str  # a name in CELLS
    num_inputs: int
    hidden_size: int
    num_outputs: int | None = None  # default: num_inputs
    activation: str | None = None  # elman's alone: a name in ACTIVATIONS, default softplus
    init_scale: float | None = None
    gain: float | None = None
    recurrent: str | None = None

    def __post_init__(self) -> None:
        CELLS.check(self.cell)
        for name in ("num_inputs", "hidden_size", "num_outputs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.activation is not None and self.cell != "elman":
            raise ValueError(f"{self.cell} has activations of its own; activation is an option of elman")
        if self.activation is not None:
            ACTIVATIONS.check(self.activation)
        if self.recurrent is not None and self.recurrent not in _RECURRENT:
            raise ValueError(unknown("recurrent matrix", self.recurrent, _RECURRENT))
        if self.init_scale is not None and (self.gain is not None or self.recurrent is not None):
            raise ValueError("init_scale draws all weights alike; give either it or gain and recurrent")
        for name in ("init_scale", "gain"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be a number from 0, not {value}")

    @property
    def scale(self) -> float | None:
        """The standard deviation of all weights alike, if they are."""
        published = self.cell == "elman" and self.gain is None and self.recurrent is None
        return _PUBLISHED_SCALE if self.init_scale is None and published else self.init_scale

    @property
    def outputs(self) -> int:
        """O."""
        return self.num_inputs if self.num_outputs is None else self.num_outputs


class CellModule(nnx.Module):
    """The parameters of a cell, gates side by side; see models/rnn/cells.py for what they do."""

    folded: ClassVar[type[RecurrentCell]]
    _default_recurrent: ClassVar[str] = "orthogonal"

    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs) -> None:
        """Random weights as the config says, biases zero."""
        wide = self.folded.num_gates * config.hidden_size
        self.input_kernel = nnx.Param(_forward_weights((config.num_inputs, wide), config, rngs))
        self.kernel = nnx.Param(self._recurrent_weights(config, rngs))
        self.bias = nnx.Param(jnp.zeros(wide))

    def _recurrent_weights(self, config: RNNConfig, rngs: nnx.Rngs) -> Float[Array, "H F"]:
        """W_1 .. W_G side by side."""
        width, num_gates = config.hidden_size, self.folded.num_gates
        if config.scale is not None:
            return config.scale * jax.random.normal(rngs.params(), (width, num_gates * width))
        gain = 1.0 if config.gain is None else config.gain
        if (config.recurrent or self._default_recurrent) == "normal":
            return gain * jax.random.normal(rngs.params(), (width, num_gates * width)) / jnp.sqrt(width)
        return gain * self._orthogonal(rngs, width)

    def _orthogonal(self, rngs: nnx.Rngs, width: int) -> Float[Array, "H F"]:
        """An orthogonal matrix for each gate."""
        draw = nnx.initializers.orthogonal()
        return jnp.concatenate([draw(rngs.params(), (width, width)) for _ in range(self.folded.num_gates)], axis=-1)

    def fold(self) -> RecurrentCell:
        """The inference form."""
        return self.folded(self.input_kernel[...], self.kernel[...], self.bias[...])


class Elman(CellModule):
    """h' = act(x U + b + h W)."""

    folded = ElmanCell
    _default_recurrent = "normal"

    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
        self.activation = config.activation or "softplus"

    def fold(self) -> RecurrentCell:
        """The inference form."""
        return ElmanCell(self.input_kernel[...], self.kernel[...], self.bias[...], self.activation)


class GRU(CellModule):
    """The gated recurrent unit."""

    folded = GRUCell

    def _orthogonal(self, rngs: nnx.Rngs, width: int) -> Float[Array, "H F"]:
        """One matrix with orthogonal rows for all gates, as flax's GRUCell begins."""
        return nnx.initializers.orthogonal()(rngs.params(), (width, self.folded.num_gates * width))


class LSTM(CellModule):
    """Long short-term memory."""

    folded = LSTMCell


# Names in configs.
CELLS: Table[type[CellModule]] = Table(
    "cell", {"elman": "models.rnn.model:Elman", "gru": "models.rnn.model:GRU", "lstm": "models.rnn.model:LSTM"}
)


class RNN(nnx.Module):
    """A cell and a linear output from its h."""

    Config = RNNConfig

    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.cell = CELLS[config.cell](config, rngs=rngs)
        self.kernel = nnx.Param(_forward_weights((config.hidden_size, config.outputs), config, rngs))
        self.bias = nnx.Param(jnp.zeros(config.outputs))

    def fold(self) -> RNNNetwork:
        """The inference form."""
        return RNNNetwork(self.cell.fold(), self.kernel[...], self.bias[...])


def _forward_weights(shape: tuple[int, int], config: RNNConfig, rngs: nnx.Rngs) -> Float[Array, "I O"]:
    """Weights from inputs or to outputs."""
    if config.scale is not None:
        return config.scale * jax.random.normal(rngs.params(), shape)
    return nnx.initializers.lecun_normal()(rngs.params(), shape)
