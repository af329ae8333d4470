"""A product of every pixel's channels with one matrix."""

from __future__ import annotations

from flax import nnx
from jaxtyping import Array, Float

from models.layers.products import matmul
from models.pixelcnnpp.weight_norm import FoldedWeight, WeightNorm


class Dense(nnx.Module):
    """y = x @ kernel + bias, a 1x1 convolution."""

    weight: WeightNorm | FoldedWeight

    def __init__(self, features_in: int, features: int, *, init_scale: float = 1.0, rngs: nnx.Rngs) -> None:
        self.weight = WeightNorm((features_in, features), init_scale=init_scale, rngs=rngs)

    def __call__(self, x: Float[Array, "*S C"]) -> Float[Array, "*S F"]:
        """Apply the product to every pixel."""
        weight = self.weight.folded()
        return matmul(x, weight.kernel[...]) + weight.bias[...]
