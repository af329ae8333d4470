"""Products over tiles (rows, columns, batch, channels).

The batch sits between the spatial axes and the channels, so that a row, a pixel or a stretch of rows is a plain slice,
and it is the layout of a solver's state.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def matmul(x: Float[Array, "*S C"], kernel: Float[Array, "C F"]) -> Float[Array, "*S F"]:
    """The product x @ kernel over the last axis."""
    return x @ kernel


def correlate(
    frame: Float[Array, "h w B C"], kernel: Float[Array, "kh kw C F"], stride: int = 1
) -> Float[Array, "_ _ B F"]:
    """y[i, j] = sum over a, b of frame[stride * i + a, stride * j + b] @ kernel[a, b], where all of them exist."""
    kh, kw = kernel.shape[:2]
    if frame.shape[0] == kh:  # a single row: one product with the neighbours side by side is half again as fast
        last = frame.shape[1] - kw + 1
        neighbours = [frame[a : a + 1, b : b + last : stride] for a in range(kh) for b in range(kw)]
        return matmul(jnp.concatenate(neighbours, -1), kernel.reshape(-1, kernel.shape[-1]))
    y = lax.conv_general_dilated(
        frame.transpose(2, 0, 1, 3), kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y.transpose(1, 2, 0, 3)
