"""Layers of a stack that reads whole rows: the rows above, and its own row to both sides (vertical stack)."""

from __future__ import annotations

from flax import nnx
from jaxtyping import Array, Float

from models.layers.products import correlate, double
from models.pixelcnnpp.weight_norm import FoldedWeight, WeightNorm


class RowConv(nnx.Module):
    """A (2, 3) convolution: output (i, j) reads rows i - 1 and i, columns j - 1, j, j + 1. With ``height`` 1: row i."""

    weight: WeightNorm | FoldedWeight

    def __init__(
        self, features_in: int, features: int, *, height: int = 2, init_scale: float = 1.0, rngs: nnx.Rngs
    ) -> None:
        self.weight = WeightNorm((height, 3, features_in, features), init_scale=init_scale, rngs=rngs)

    def __call__(self, frame: Float[Array, "h W B C"], stride: int = 1) -> Float[Array, "_ _ B F"]:
        """Rows from a frame, which holds the row above them too; with ``stride`` 2 every other row and column."""
        weight = self.weight.folded()
        return correlate(frame, weight.kernel[...], stride, (1, 1)) + weight.bias[...]


class RowGrow(nnx.Module):
    """The transposed (2, 3) convolution of stride 2, cut to twice the size: rows from the top, columns centred.

    Row i gives rows 2i and 2i + 1. Column j gives column 2j, and with column j + 1 column 2j + 1.
    """

    weight: WeightNorm | FoldedWeight

    def __init__(self, features: int, *, rngs: nnx.Rngs) -> None:
        self.weight = WeightNorm((2, 3, features, features), axis=2, rngs=rngs)

    def __call__(self, x: Float[Array, "h W B F"]) -> Float[Array, "_ _ B F"]:
        """Grow (h, W) pixels to (2h, 2W)."""
        weight = self.weight.folded()
        return double(x, weight.kernel[...]) + weight.bias[...]
