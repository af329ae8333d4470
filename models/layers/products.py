"""Products over tiles (rows, columns, batch, channels).

The batch sits between the spatial axes and the channels, so that a row, a pixel or a stretch of rows is a plain slice,
and it is the layout of a solver's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from solvers.trees.platform import on_cpu
from solvers.trees.pytree import pytree


def matmul(x: Float[Array, "*S C"], kernel: Float[Array, "C F"]) -> Float[Array, "*S F"]:
    """The product x @ kernel over the last axis."""
    return x @ kernel


# Of so few rows the neighbours of all pixels, side by side, stay in a CPU's caches: one product with them takes half to
# two thirds of the time of the library's convolution. More rows it would have to write to memory, several times over.
_FEW_ROWS = 4


@pytree
@dataclass(frozen=True)
class Apart:
    """A sum of products, x_1 @ K_1 + ... + x_n @ K_n, one after the other."""

    kernels: tuple[Float[Array, "_ F"], ...]

    def add(self, total: Float[Array, "*#S F"], xs: Sequence[Float[Array, "*S _"]]) -> Float[Array, "*S F"]:
        """``total``, which may have one row for all, and the products of all xs."""
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

    # The kernels one below the other, transposed: with a vector, one reduction of rows.
    rows: Float[Array, "F C"]
    widths: tuple[int, ...] = field(metadata={"static": True})  # of the x

    def add(self, total: Float[Array, "*#S F"], xs: Sequence[Float[Array, "*S _"]]) -> Float[Array, "*S F"]:
        """``total``, which may have one row for all, and the products of all xs."""
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


def written_once(x: Array) -> Array:
    """The array itself, which an accelerator is to write down for all that read it, not to compute for each of them."""
    return x if on_cpu() else lax.optimization_barrier(x)


def concatenate_channels(xs: Sequence[Float[Array, "*S C"]]) -> Float[Array, "*S _"]:
    """Concatenate arrays of equally many channels along the channels.

    On a CPU they are stacked and laid out anew instead. XLA compiles kernels that are alike once, but a concatenation
    of channels stays a kernel by itself, which is compiled each time that it occurs (so it is in jaxlib 0.10).
    """
    if not on_cpu():
        return jnp.concatenate(xs, -1)
    stacked = jnp.stack(xs, -2)
    return stacked.reshape(*stacked.shape[:-2], len(xs) * stacked.shape[-1])


# A network calls this and ``double`` in each of its layers: by jit they are traced once for each shape.
@partial(jax.jit, static_argnames=("stride", "pad"))
def correlate(
    frame: Float[Array, "h w B C"], kernel: Float[Array, "kh kw C F"], stride: int = 1, pad: tuple[int, int] = (0, 0)
) -> Float[Array, "_ _ B F"]:
    """y[i, j] = sum over a, b of frame[stride * i + a, stride * j + b] @ kernel[a, b], where all of them exist.

    ``pad``: columns of zeros to the left and to the right of the frame.
    """
    kh, kw = kernel.shape[:2]
    columns = (frame.shape[1] + sum(pad) - kw) // stride + 1
    if not on_cpu():
        # Its library pads both sides alike, without a copy; columns too many are computed for that.
        assert pad[0] == max(pad), "columns too many would come first"
        return _convolve(frame, kernel, stride, (pad[0], pad[0]))[:, :columns]
    frame = jnp.pad(frame, ((0, 0), pad, (0, 0), (0, 0)))
    rows, last = frame.shape[0] - kh + 1, frame.shape[1] - kw + 1
    if rows > _FEW_ROWS:
        return _convolve(frame, kernel, stride, (0, 0))
    neighbours = [frame[a : a + rows : stride, b : b + last : stride] for a in range(kh) for b in range(kw)]
    return matmul(concatenate_channels(neighbours), kernel.reshape(-1, kernel.shape[-1]))


def _convolve(
    frame: Float[Array, "h w B C"], kernel: Float[Array, "kh kw C F"], stride: int, pad: tuple[int, int]
) -> Float[Array, "_ _ B F"]:
    y = lax.conv_general_dilated(
        frame.transpose(2, 0, 1, 3),
        kernel,
        (stride, stride),
        ((0, 0), pad),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.transpose(1, 2, 0, 3)


@pytree
@dataclass(frozen=True)
class Each:
    """Products of several inputs, each with a kernel of its own, where they are needed."""

    kernels: tuple[Float[Array, "C F"], ...]

    def __call__(self, xs: Sequence[Float[Array, "*S C"]]) -> list[Float[Array, "*S F"]]:
        """All xs[k] @ kernels[k]."""
        return [matmul(x, kernel) for x, kernel in zip(xs, self.kernels, strict=True)]


@pytree
@dataclass(frozen=True)
class Together:
    """Products of several inputs, each with a kernel of its own, as one product of a batch."""

    kernels: Float[Array, "n C F"]

    def __call__(self, xs: Sequence[Float[Array, "*S C"]]) -> list[Float[Array, "*S F"]]:
        """All xs[k] @ kernels[k]."""
        return list(jnp.einsum("n...c,ncf->n...f", jnp.stack(xs), self.kernels))


def products(kernels: Sequence[Float[Array, "C F"]]) -> Each | Together:
    """Several products in the form that is faster: near what needs each, or, where a call costs more, together."""
    return Each(tuple(kernels)) if on_cpu() else Together(jnp.stack(kernels))


@jax.jit
def double(x: Float[Array, "h w B C"], kernel: Float[Array, "2 k C F"]) -> Float[Array, "_ _ B F"]:
    """The transposed convolution of stride 2, cut to twice the size: rows from the top, columns centred where k is 3.

    Row i gives rows 2i and 2i + 1. Column j gives columns 2j and 2j + 1, this where k is 3 with column j + 1. On a
    CPU as products of a quarter of the pixels each, with no zeros between them.
    """
    wide = kernel.shape[1] == 3
    if not on_cpu():
        y = lax.conv_general_dilated(
            x.transpose(2, 0, 1, 3),
            kernel[::-1, ::-1],
            (1, 1),
            ((1, 1), (1, 1 + wide)),
            lhs_dilation=(2, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.transpose(1, 2, 0, 3)
    if wide:
        right = jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))
        quarters = [[matmul(x, k[1]), matmul(x, k[2]) + matmul(right, k[0])] for k in kernel]
    else:
        quarters = [[matmul(x, k) for k in row] for row in kernel]
    together = jnp.stack([jnp.stack(row, axis=2) for row in quarters], axis=1)  # (h, 2, w, 2, B, F)
    h, _, w, _, *rest = together.shape
    return together.reshape(2 * h, 2 * w, *rest)
