"""A single pixel on its way through the horizontal stack, and what of its row is known before the row begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from models.pixelcnnpp.gated_block import GatedBlock, concat_elu
from models.pixelcnnpp.lines import Channels, Line, Lines, line_of, pick
from models.pixelcnnpp.pixel_conv import PixelConv
from models.pixelcnnpp.skips import Skips
from models.pixelcnnpp.stack import LEVELS, Stack


def row_shares(stack: Stack, lines: Lines, sides: tuple[list[Array], ...], row: Int[Array, ""]) -> tuple[Line, ...]:
    """All that is known of a row of the horizontal stack before its first pixel, by level.

    Args:
        stack: the horizontal stack.
        lines: of the row above.
        sides: what the vertical stack's walk along this row kept of its blocks, by level.
        row: the image row. Levels that have no such row get zeros.

    Returns:
        For each level a line of (W / 2^l, batch) pixels: the share of what it is shrunk from, then those of its blocks.
    """
    features = lines.low[0].shape[-1]
    shrunk: Array | None = None  # what the level is shrunk from, in the row above
    found = []
    for level in range(LEVELS):
        above = Channels(lines.inputs[level])
        up = [above.pair(2 * features) for _ in stack.up[level]]
        next_shrunk = above.take(features) if level < LEVELS - 1 else None
        pairs = [*up, *(above.pair(2 * features) for _ in stack.down[level])]
        compute = partial(_level_shares, stack, level, shrunk, pairs, sides[level])
        found.append(compute() if level == 0 else _if_there(row, level, compute))
        shrunk = next_shrunk
    return tuple(found)


def _level_shares(
    stack: Stack, level: int, shrunk: Array | None, pairs: Sequence[tuple[Array, Array]], sides: Sequence[Array]
) -> Line:
    shares: list[Array] = []
    if shrunk is not None:
        shrink = stack.shrink[level - 1]
        assert isinstance(shrink, PixelConv)
        shares.append(shrink.from_above(shrunk, stride=2))
    for block, above, side in zip(stack.blocks(level), pairs, sides, strict=True):
        shares += block.shares(above, side[0])
    return line_of(shares)


def _if_there(row: Int[Array, ""], level: int, compute: Callable[[], Line]) -> Line:
    """The result of ``compute`` if the level has the image row, else zeros."""
    shapes = jax.eval_shape(compute)
    found: Line = lax.cond(
        row % 2**level == 0, compute, lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    )
    return found


class Neighbours(NamedTuple):
    """The neighbours that a pixel's walk reads, by level: of one pixel each, but for the shares."""

    shares: tuple[Line, ...]  # of all columns, of which a level picks its own where it has one: see row_shares
    left: tuple[Line, ...]  # the layers' inputs one column to the left
    held: tuple[Line, ...]  # and in this column, as they stand
    low: tuple[Array, ...]  # see Lines


class PixelWalk:
    """One pixel of the horizontal stack in one level, arrays (batch, channels)."""

    def __init__(self, neighbours: Neighbours, row: Int[Array, ""], column: Int[Array, ""], level: int = 0) -> None:
        """Begin level ``level`` at its own (row, column)."""
        self.neighbours, self.row, self.column, self.level = neighbours, row, column, level
        self.shares = Channels(pick(neighbours.shares[level], column))
        self.left = Channels(neighbours.left[level])
        self._inputs: list[Array] = []
        self._below: tuple[tuple[Line, ...], tuple[Array, ...]] = (), ()

    def kept(self) -> tuple[tuple[Line, ...], tuple[Array, ...]]:
        """The results of the walk, from this level on: this column of ``Lines.inputs`` and ``Lines.low``."""
        inputs, low = self._below
        return (line_of(self._inputs), *inputs), low

    def extras(self, layers: Skips, skips: Sequence[Array] | None) -> Sequence[Array | None]:
        """What the skip layers of the blocks to come give for skips, as the shares hold the rest; see Walk."""
        if skips is None:
            return [None] * len(layers.biases)
        return layers.pixels([concat_elu(skip) for skip in skips])

    def block(self, block: GatedBlock, x: Array, extra: Array | None) -> Array:
        """Walk the pixel through a block; see Walk."""
        features = x.shape[-1]
        shares = self.shares.take(features), self.shares.take(2 * features)
        x, inputs = block.step(x, extra, shares, self.left.pair(2 * features))
        self._inputs += inputs
        return x

    def below(self, shrink: Any, grow: Any, x: Array, run: Callable[[Array, Any], Array]) -> Array:
        """Walk the pixel through the levels below, which change where row and column are even; see Walk."""
        level, now = self.level, self.neighbours
        left = self.left.later(x.shape[-1])
        self._inputs.append(x)

        def go() -> tuple[Array, tuple[tuple[Line, ...], tuple[Array, ...]]]:
            walk = PixelWalk(now, self.row // 2, self.column // 2, level + 1)
            y = run(shrink.step(walk.shares.take(x.shape[-1]), left(), x), walk)
            return y, walk.kept()

        y, (inputs, low) = lax.cond(
            (self.row % 2 == 0) & (self.column % 2 == 0),
            go,
            lambda: (now.low[level], (now.held[level + 1 :], now.low[level + 1 :])),
        )
        self._below = inputs, (y, *low)
        grown: Array = grow.step(y, self.row, self.column)
        return grown
