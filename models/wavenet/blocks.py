"""Parameters of the two kinds of WaveNet, plain and gated, by layer; ``folded`` gives the inference form.

A filter's kernel is (width, in, out): tap j is applied to the input j * dilation steps ago.
"""

from __future__ import annotations

import math
from typing import ClassVar, TypeAlias

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.layers.normal import Normal
from models.layers.products import Apart, SideBySide, sum_of_products
from models.wavenet.layers import GatedLayer, PlainLayer
from models.wavenet.readout import PlainReadout, SkipReadout

# Power that a plain layer's random weights add to that of its input, which it begins by passing on. With all weights
# random, 28 layers without residual connections hardly learn: after 20 epochs on the embedded speech 3.8 nats a sample,
# and so 2.8.
_NOISE = 0.1
_OUTPUT = 0.1  # outputs begin small: a distribution that knows nothing is nearly even


class PlainReadoutWeights(nnx.Module):
    """The output layer of a plain network."""

    def __init__(self, channels: int, num_skip: int, outputs: int, normal: Normal) -> None:
        self.kernel = nnx.Param(normal((channels, outputs), _OUTPUT * math.sqrt(1.0 / channels)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def folded(self) -> PlainReadout:
        """The layer in the inference form."""
        return PlainReadout(self.kernel[...], self.bias[...])


class SkipReadoutWeights(nnx.Module):
    """The two layers after the sum of the skip connections."""

    def __init__(self, channels: int, num_skip: int, outputs: int, normal: Normal) -> None:
        self.hidden = nnx.Param(normal((num_skip, num_skip), math.sqrt(2.0 / num_skip)))
        self.hidden_bias = nnx.Param(jnp.zeros(num_skip))
        self.kernel = nnx.Param(normal((num_skip, outputs), _OUTPUT * math.sqrt(1.0 / num_skip)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def folded(self) -> SkipReadout:
        """The layer in the inference form."""
        return SkipReadout(self.hidden[...], self.hidden_bias[...], self.kernel[...], self.bias[...])


class PlainDilated(nnx.Module):
    """Fast WaveNet's layer: a filter without bias, and relu. The first layer reads the input itself.

    It begins near the identity (Yu and Koltun, "Multi-scale context aggregation by dilated convolutions", ICLR 2016,
    section 3).
    """

    readout: ClassVar[type[PlainReadoutWeights]] = PlainReadoutWeights
    has_skip: ClassVar[bool] = False
    has_input_layer: ClassVar[bool] = False  # before the dilated ones
    gain: ClassVar[float] = 2.0  # relu halves the power

    def __init__(self, width: int, channels: int, num_skip: int, normal: Normal) -> None:
        noise = normal((width, channels, channels), math.sqrt(_NOISE / (width * channels)))
        self.kernel = nnx.Param(noise.at[0].add(jnp.eye(channels, dtype=noise.dtype)))

    @staticmethod
    def num_sums(channels: int) -> int:
        """The number of sums that a filter gives."""
        return channels

    def folded(self) -> tuple[PlainLayer, Float[Array, " Z"]]:
        """The layer, and its bias: none."""
        kernel = self.kernel[...]
        return PlainLayer(_filter(kernel)), jnp.zeros(kernel.shape[-1], kernel.dtype)


class GatedDilated(nnx.Module):
    """van den Oord's layer: a filter for signal and gate, residual and skip 1x1 convolutions, all with biases."""

    readout: ClassVar[type[SkipReadoutWeights]] = SkipReadoutWeights
    has_skip: ClassVar[bool] = True
    has_input_layer: ClassVar[bool] = True
    gain: ClassVar[float] = 1.0

    def __init__(self, width: int, channels: int, num_skip: int, normal: Normal) -> None:
        sums = self.num_sums(channels)
        self.kernel = nnx.Param(normal((width, channels, sums), math.sqrt(self.gain / (width * channels))))
        self.bias = nnx.Param(jnp.zeros(sums))
        self.out = nnx.Param(normal((channels, channels + num_skip), math.sqrt(1.0 / channels)))
        self.out_bias = nnx.Param(jnp.zeros(channels + num_skip))

    @staticmethod
    def num_sums(channels: int) -> int:
        """The number of sums that a filter gives, for signal and gate."""
        return 2 * channels

    def folded(self) -> tuple[GatedLayer, Float[Array, " Z"]]:
        """The layer, and its filter's bias."""
        return GatedLayer(_filter(self.kernel[...]), self.out[...], self.out_bias[...]), self.bias[...]


def _filter(kernel: Float[Array, "width C Z"]) -> Apart | SideBySide:
    """A filter as the layers have it."""
    return sum_of_products([kernel[1:].reshape(-1, kernel.shape[-1]), kernel[0]])


Block: TypeAlias = PlainDilated | GatedDilated
BLOCKS: dict[str, type[Block]] = {"plain": PlainDilated, "gated": GatedDilated}
