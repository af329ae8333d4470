"""Recurrent networks, a cell with a linear output, as NNX modules.

``fold`` gives the inference form, with which the systems are stated: models/rnn/cell.py, models/rnn/network.py.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from common.names import unknown
from common.table import Table
from models.rnn.cell import RecurrentCell
from models.rnn.cells import ACTIVATIONS, DenseCell, ElmanCell, GRUCell, LSTMCell
from models.rnn.network import RNNNetwork

_PUBLISHED_SCALE = 0.1
_RECURRENT = ("normal", "orthogonal")
# The options of first weights that cells do not take whose units do not read one another.
_UNKNOWN = {
    "para_gru": ("recurrent",),
    "para_lstm": ("recurrent",),
    "min_gru": ("recurrent", "gain"),
    "lru": ("recurrent", "gain", "init_scale"),
}


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

    para_gru, para_lstm, min_gru and lru begin as their papers have it (models/rnn/unitwise_model.py); of the options
    above the first two take ``init_scale``, or ``gain``, which multiplies their recurrent weights, and min_gru takes
    ``init_scale``.
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
        for name in _UNKNOWN.get(self.cell, ()):
            if getattr(self, name) is not None:
                raise ValueError(f"{self.cell} begins as its paper has it; {name} is an option of other cells")
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
        """The standard deviation of all weights, where they are drawn alike; else None."""
        published = self.cell == "elman" and self.gain is None and self.recurrent is None
        return _PUBLISHED_SCALE if self.init_scale is None and published else self.init_scale

    @property
    def outputs(self) -> int:
        """The number of outputs, O."""
        return self.num_inputs if self.num_outputs is None else self.num_outputs


class CellModule(nnx.Module):
    """The parameters of a cell, by the names that its inference form has for them; see models/rnn/cell.py."""

    folded: ClassVar[type[RecurrentCell]]

    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs) -> None:
        """Random weights as the config says."""
        for name, array in self._draw(config, rngs).items():
            setattr(self, name, nnx.Param(array))

    @abstractmethod
    def _draw(self, config: RNNConfig, rngs: nnx.Rngs) -> dict[str, Array]:
        """The first weights by name."""

    def fold(self) -> RecurrentCell:
        """The module in the inference form."""
        return self.folded(**{name: getattr(self, name)[...] for name in self.folded.weights()})


class DenseCellModule(CellModule):
    """The parameters of a cell whose units read one another, gates side by side; see models/rnn/cells.py."""

    folded: ClassVar[type[DenseCell]]
    _default_recurrent: ClassVar[str] = "orthogonal"

    def _draw(self, config: RNNConfig, rngs: nnx.Rngs) -> dict[str, Array]:
        """Random weights as the config says, biases zero."""
        wide = self.folded.num_gates * config.hidden_size
        return {
            "input_kernel": _forward_weights((config.num_inputs, wide), config, rngs),
            "kernel": self._recurrent_weights(config, rngs),
            "bias": jnp.zeros(wide),
        }

    def _recurrent_weights(self, config: RNNConfig, rngs: nnx.Rngs) -> Float[Array, "H F"]:
        """The recurrent weights of all gates, W_1 .. W_G side by side."""
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


class Elman(DenseCellModule):
    """The parameters of Elman's cell, ElmanCell."""

    folded = ElmanCell
    _default_recurrent = "normal"

    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs) -> None:
        super().__init__(config, rngs=rngs)
        self.activation = config.activation or "softplus"

    def fold(self) -> RecurrentCell:
        """The module in the inference form."""
        return dataclasses.replace(super().fold(), activation=self.activation)  # type: ignore[call-arg]


class GRU(DenseCellModule):
    """The parameters of a gated recurrent unit, GRUCell."""

    folded = GRUCell

    def _orthogonal(self, rngs: nnx.Rngs, width: int) -> Float[Array, "H F"]:
        """One matrix with orthogonal rows for all gates, as flax's GRUCell begins."""
        return nnx.initializers.orthogonal()(rngs.params(), (width, self.folded.num_gates * width))


class LSTM(DenseCellModule):
    """The parameters of long short-term memory, LSTMCell."""

    folded = LSTMCell


# Names in configs.
CELLS: Table[type[CellModule]] = Table(
    "cell",
    {
        "elman": "models.rnn.model:Elman",
        "gru": "models.rnn.model:GRU",
        "lstm": "models.rnn.model:LSTM",
        "para_gru": "models.rnn.unitwise_model:ParaGRU",
        "para_lstm": "models.rnn.unitwise_model:ParaLSTM",
        "min_gru": "models.rnn.unitwise_model:MinGRU",
        "lru": "models.rnn.unitwise_model:LRU",
    },
)


class RNN(nnx.Module):
    """A cell and a linear output from what it gives."""

    Config = RNNConfig

    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.cell = CELLS[config.cell](config, rngs=rngs)
        width = self.cell.folded.output_parts * config.hidden_size
        self.kernel = nnx.Param(_forward_weights((width, config.outputs), config, rngs))
        self.bias = nnx.Param(jnp.zeros(config.outputs))

    def fold(self) -> RNNNetwork:
        """The module in the inference form."""
        return RNNNetwork(self.cell.fold(), self.kernel[...], self.bias[...])


def _forward_weights(shape: tuple[int, int], config: RNNConfig, rngs: nnx.Rngs) -> Float[Array, "I O"]:
    """Random weights from inputs or to outputs."""
    if config.scale is not None:
        return config.scale * jax.random.normal(rngs.params(), shape)
    return nnx.initializers.lecun_normal()(rngs.params(), shape)
