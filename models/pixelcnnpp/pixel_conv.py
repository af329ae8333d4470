"""Layers of a stack that goes through a row pixel by pixel: above, above left and left (horizontal stack).

Each layer has its full form over rows, the share of the row above, which is known before a row begins, and the step of
one pixel, which adds to that share. The three use the same kernel; ``step`` on ``from_above`` equals the full form.
"""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array, Float, Int

from models.layers.products import concatenate_channels, correlate, double
from models.pixelcnnpp.weight_norm import FoldedWeight, WeightNorm


class PixelConv(nnx.Module):
    """A (2, 2) convolution: output (i, j) reads rows i - 1 and i, columns j - 1 and j. With ``width`` 1: column j."""

    weight: WeightNorm | FoldedWeight

    def __init__(
        self, features_in: int, features: int, *, width: int = 2, init_scale: float = 1.0, rngs: nnx.Rngs
    ) -> None:
        self.weight = WeightNorm((2, width, features_in, features), init_scale=init_scale, rngs=rngs)
        self.own: Float[Array, "_ F"] | None = nnx.data(None)  # the kernel of the pixel's own row, once laid out

    def lay_out(self) -> None:
        """Keep the kernel of the pixel's own row apart too, as steps read it: a slice at each would be a copy."""
        self.own = self.own_kernel()

    def own_kernel(self) -> Float[Array, "_ F"]:
        """The kernel of the pixel's own row, to its left and its own one below the other."""
        if self.own is not None:
            return self.own
        kernel = self.weight.folded().kernel[1]
        return kernel.reshape(-1, kernel.shape[-1])

    def __call__(self, frame: Float[Array, "h W B C"], stride: int = 1) -> Float[Array, "_ _ B F"]:
        """Rows from a frame, which holds the row above them too; with ``stride`` 2 every other row and column."""
        weight = self.weight.folded()
        kernel = weight.kernel[...]
        return correlate(frame, kernel, stride, (kernel.shape[1] - 1, 0)) + weight.bias[...]

    def from_above(self, line: Float[Array, "W B C"], stride: int = 1) -> Float[Array, "_ B F"]:
        """The share of the row above in a row, bias included."""
        weight = self.weight.folded()
        kernel = weight.kernel[:1]
        return correlate(line[None], kernel, stride, (kernel.shape[1] - 1, 0))[0] + weight.bias[...]

    def step(
        self, share: Float[Array, "B F"], left: Float[Array, "B C"], x: Float[Array, "B C"]
    ) -> Float[Array, "B F"]:
        """One pixel: the share of the row above, the pixel to the left (zeros at the border) and its own."""
        return share + concatenate_channels([left, x]) @ self.own_kernel()


class PixelGrow(nnx.Module):
    """The transposed (2, 2) convolution of stride 2: each pixel gives the four pixels of its own square."""

    weight: WeightNorm | FoldedWeight

    def __init__(self, features: int, *, rngs: nnx.Rngs) -> None:
        self.weight = WeightNorm((2, 2, features, features), axis=2, rngs=rngs)

    def __call__(self, x: Float[Array, "h W B F"]) -> Float[Array, "_ _ B F"]:
        """Grow (h, W) pixels to (2h, 2W)."""
        weight = self.weight.folded()
        return double(x, weight.kernel[...]) + weight.bias[...]

    def step(self, x: Float[Array, "B F"], row: Int[Array, ""], column: Int[Array, ""]) -> Float[Array, "B F"]:
        """The pixel (row, column) of the large image, from the one of the small image that it comes from."""
        weight = self.weight.folded()
        kernel = weight.kernel[...].reshape(4, *weight.kernel.shape[2:])
        return x @ jax.lax.dynamic_index_in_dim(kernel, 2 * (row % 2) + column % 2, keepdims=False) + weight.bias[...]
