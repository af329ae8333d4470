"""The convolutions of models/densenet/convolution.py with kernels of their own, which begin as He et al. have it."""

from __future__ import annotations

import math

from flax import nnx
from jaxtyping import Array, Float

from models.densenet.convolution import convolve, convolve_narrowly
from models.layers.normal import Normal
from models.layers.products import matmul


class Conv(nnx.Module):
    """A convolution of any odd side and any stride: of n pixels in a row it keeps ceil(n / stride)."""

    def __init__(self, features_in: int, features: int, *, side: int, stride: int, rngs: nnx.Rngs) -> None:
        self.stride = stride
        self.kernel = nnx.Param(_first_kernel((side, side, features_in, features), rngs))

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _ _ F"]:
        """Convolve an image of features."""
        return convolve(x, self.kernel[...], self.stride)


class NarrowConv(nnx.Module):
    """A 3x3 convolution to few features; see ``convolve_narrowly``."""

    def __init__(self, features_in: int, features: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(_first_kernel((3, 3, features_in, features), rngs))

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W F"]:
        """Convolve an image of features."""
        return convolve_narrowly(x, self.kernel[...])


class PointwiseConv(nnx.Module):
    """A 1x1 convolution: a product of each pixel's features with one matrix."""

    def __init__(self, features_in: int, features: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(_first_kernel((features_in, features), rngs))

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W F"]:
        """Convolve an image of features."""
        return matmul(x, self.kernel[...])


def _first_kernel(shape: tuple[int, ...], rngs: nnx.Rngs) -> Float[Array, "..."]:
    """Normal weights of variance 2 / inputs (He et al., arXiv 1502.01852)."""
    return Normal(rngs)(shape, math.sqrt(2.0 / math.prod(shape[:-1])))
