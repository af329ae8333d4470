"""Products over tiles (rows, columns, batch, channels).

The batch sits between the spatial axes and the channels, so that a row, a pixel or a stretch of rows is a plain slice,
and it is the layout of a solver's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from solvers.trees.platform import on_cpu
from solvers.trees.pytree import pytree


def matmul(x: Float[Array, "*S C"], kernel: Float[Array, "C F"]) -> Float[Array, "*S F"]:
    """The product x @ kernel over the last axis."""
    return x @ kernel


@pytree
@dataclass(frozen=True)
class Apart:
    """A sum of products, x_1 @ K_1 + ... + x_n @ K_n, one after the other."""

    kernels: tuple[Float[Array, "_ F"], ...]

    def add(self, total: Float[Array, "*S F"], xs: Sequence[Float[Array, "*S _"]]) -> Float[Array, "*S F"]:
        """``total`` and the products of all xs."""
        for x, kernel in zip(xs, self.kernels, strict=True):
            total = total + matmul(x, kernel)
        return total

    def kernel(self, index: int) -> Float[Array, "_ F"]:
        """One of the kernels."""
        return self.kernels[index]


@pytree
@dataclass(frozen=True)
class SideBySide:
    """A sum of products, x_1 @ K_1 + ... + x_n @ K_n, as one product of all x side by side."""

    rows: Float[
        Array, "F C"
    ]  # the kernels one below the other, transposed: a vector's product is one reduction of them
    widths: tuple[int, ...] = field(metadata={"static": True})  # of the x

    def add(self, total: Float[Array, "*S F"], xs: Sequence[Float[Array, "*S _"]]) -> Float[Array, "*S F"]:
        """``total`` and the products of all xs."""
        x = jnp.concatenate(xs, -1)
        return total + lax.dot_general(x, self.rows, (((x.ndim - 1,), (1,)), ((), ())))

    def kernel(self, index: int) -> Float[Array, "_ F"]:
        """One of the kernels."""
        first = sum(self.widths[:index])
        return self.rows[:, first : first + self.widths[index]].T


def sum_of_products(kernels: Sequence[Float[Array, "_ F"]]) -> Apart | SideBySide:
    """A sum of products in the form that is faster: putting inputs side by side costs a CPU more than a call does."""
    if on_cpu():
        return Apart(tuple(kernels))
    return SideBySide(jnp.concatenate(kernels).T, tuple(kernel.shape[0] for kernel in kernels))


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
