"""Stems of a DenseNet, from pixels to the first block's input, as modules; their inference forms are in network.py."""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array, Float

from common.table import Table
from models.densenet.batch_norm import BatchNorm
from models.densenet.conv import Conv
from models.densenet.convolution import max_pool
from models.densenet.network import FoldedImageNetStem, FoldedSmallStem


class ImageNetStem(nnx.Module):
    """A 7x7 convolution of stride 2, norm, relu and the maximum of 3x3 pixels at every other: a quarter of the side."""

    def __init__(self, channels: int, features: int, *, rngs: nnx.Rngs) -> None:
        self.conv = Conv(channels, features, side=7, stride=2, rngs=rngs)
        self.norm = BatchNorm(features)

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _ _ F"]:
        """The first block's input."""
        return max_pool(jax.nn.relu(self.norm(self.conv(x))))

    def fold(self) -> FoldedImageNetStem:
        """The inference form."""
        scale, shift = self.norm.folded()
        return FoldedImageNetStem(self.conv.kernel[...] * scale, shift)

    @staticmethod
    def side(pixels: int) -> int:
        """The side of the first block's images for images of a side of ``pixels``."""
        return -(-pixels // 4)


class SmallStem(nnx.Module):
    """A 3x3 convolution of stride 2, for small images: half of the side. The first layer's norm follows."""

    def __init__(self, channels: int, features: int, *, rngs: nnx.Rngs) -> None:
        self.conv = Conv(channels, features, side=3, stride=2, rngs=rngs)

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _ _ F"]:
        """The first block's input."""
        return self.conv(x)

    def fold(self) -> FoldedSmallStem:
        """The inference form."""
        return FoldedSmallStem(self.conv.kernel[...])

    @staticmethod
    def side(pixels: int) -> int:
        """The side of the first block's images for images of a side of ``pixels``."""
        return -(-pixels // 2)


# Names in configs.
STEMS: Table[type[ImageNetStem] | type[SmallStem]] = Table(
    "stem", {"imagenet": "models.densenet.stems:ImageNetStem", "small": "models.densenet.stems:SmallStem"}
)
