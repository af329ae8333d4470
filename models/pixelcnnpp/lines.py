"""Lines: the inputs of many layers at the same pixels, which the next row or the next pixel reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from solvers.trees.platform import on_cpu

# The channels of several layers at the same pixels, arrays (..., batch, channels): one array for all on an accelerator,
# on a CPU a tuple with an array for each layer; see line_of.
Line: TypeAlias = Array | tuple[Array, ...]

_L = TypeVar("_L", bound=Line)


def line_of(parts: Sequence[Float[Array, "*S _"]]) -> Line:
    """Join the channels of several layers: one array on an accelerator, where each more array costs a kernel.

    On a CPU a tuple: slices at different places of one array would keep layers that are alike from sharing a kernel,
    and most of what compiling takes there is the compiler's time for each kernel that differs.
    """
    return tuple(parts) if on_cpu() else jnp.concatenate(parts, -1)


def no_line(pixels: tuple[int, ...], widths: Sequence[int], dtype: Any) -> Line:
    """A line of zeros, for layers of so many channels."""
    if on_cpu():
        return tuple(jnp.zeros((*pixels, width), dtype) for width in widths)
    return jnp.zeros((*pixels, sum(widths)), dtype)


def pick(row: _L, column: Int[Array, ""]) -> _L:
    """One pixel of a row of them."""
    pixel: _L = jax.tree.map(lambda part: lax.dynamic_index_in_dim(part, column, keepdims=False), row)
    return pixel


def put(row: _L, pixel: _L, column: Int[Array, ""]) -> _L:
    """The row with another pixel in a column."""
    updated: _L = jax.tree.map(lambda part, x: lax.dynamic_update_index_in_dim(part, x, column, 0), row, pixel)
    return updated


class Channels:
    """A line's channels, to be taken from the first to the last, in the order in which ``line_of`` was given them."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.taken = 0  # layers of a tuple, channels of an array

    def take(self, count: int) -> Float[Array, "*S _"]:
        """Take the next ``count`` channels: on a CPU a whole layer's."""
        return self.later(count)()

    def later(self, count: int) -> Callable[[], Float[Array, "*S _"]]:
        """Take the next ``count`` channels, and return a function that slices them when it is called.

        Called inside a branch, it slices nothing where the branch is not taken.
        """
        if isinstance(self.line, tuple):
            part = self.line[self.taken]
            assert part.shape[-1] == count, "layers are taken whole"
            self.taken += 1
            return lambda: part
        self.taken += count
        line, place = self.line, slice(self.taken - count, self.taken)
        return lambda: line[..., place]

    def pair(self, count: int) -> tuple[Float[Array, "*S _"], Float[Array, "*S _"]]:
        """Take the next ``count`` channels, and as many behind those."""
        return self.take(count), self.take(count)


class Lines(NamedTuple):
    """The last row of every layer's input, level by level: all that the rows below it will read.

    ``inputs`` has for each level a row of (W / 2^l, batch) pixels with the layers' channels in the order of
    computation; ``low`` the outputs of levels 1 and 2, which the rows that these levels lack are grown from.
    """

    inputs: tuple[Line, ...]
    low: tuple[Array, ...]
