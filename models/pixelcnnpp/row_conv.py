"""Layers of a stack that reads whole rows: the rows above, and its own row to both sides (vertical stack)."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.layers.products import correlate, matmul
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
        padded = jnp.pad(frame, ((0, 0), (1, 1), (0, 0), (0, 0)))
        return correlate(padded, weight.kernel[...], stride) + weight.bias[...]


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
        kernel = weight.kernel[...]
        right = jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))
        quarters = [[matmul(x, k[1]), matmul(x, k[2]) + matmul(right, k[0])] for k in kernel]
        return interleave(quarters) + weight.bias[...]


def interleave(quarters: Sequence[Sequence[Float[Array, "h W B F"]]]) -> Float[Array, "_ _ B F"]:
    """Interleave quarters into (2h, 2W) pixels: quarters[a][b] holds rows a, a + 2, ... and columns b, b + 2, ..."""
    together = jnp.stack([jnp.stack(list(row), axis=2) for row in quarters], axis=1)  # (h, 2, W, 2, B, F)
    h, _, w, _, *rest = together.shape
    return together.reshape(2 * h, 2 * w, *rest)
