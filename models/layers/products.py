"""Products over tiles (rows, columns, batch, channels).

The batch sits between the spatial axes and the channels, so that a row, a pixel or a stretch of rows is a plain slice,
and it is the layout of a solver's state.
"""

from __future__ import annotations

from jax import lax
from jaxtyping import Array, Float


def matmul(x: Float[Array, "*S C"], kernel: Float[Array, "C F"]) -> Float[Array, "*S F"]:
    """The product x @ kernel as a two-dimensional one."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def correlate(
    frame: Float[Array, "h w B C"], kernel: Float[Array, "kh kw C F"], stride: int = 1
) -> Float[Array, "_ _ B F"]:
    """y[i, j] = sum over a, b of frame[stride * i + a, stride * j + b] @ kernel[a, b], where all of them exist."""
    y = lax.conv_general_dilated(
        frame.transpose(2, 0, 1, 3), kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y.transpose(1, 2, 0, 3)
