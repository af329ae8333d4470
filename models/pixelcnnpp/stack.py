"""The stacks of PixelCNN++: one list of blocks, walked by rows or by pixels.

A stack goes up through three levels, each half the size of the one before, and down again. ``Stack`` states that
once. What differs between a tile of rows and a single pixel, namely where a layer finds its neighbours and what is kept
for later, is the business of the walk: ``RowsWalk`` for any number of whole rows, ``PixelWalk`` for one pixel of a row
whose part that is known beforehand was computed by ``row_shares``.

Row r of the image is row r / 2^l of level l if 2^l divides r, else level l has no such row. So a tile of rows has a
span of rows in every level, and how long it is depends on where the tile starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from common.blocks import Start
from models.pixelcnnpp.gated_block import GatedBlock
from models.pixelcnnpp.pixel_conv import PixelConv, PixelGrow
from models.pixelcnnpp.row_conv import RowConv, RowGrow

LEVELS = 3


class Walk(Protocol):
    """A tile on its way through one level of a stack."""

    def block(self, block: GatedBlock, x: Array, skip: Array | None) -> Array:
        """The tile behind a block."""

    def below(self, shrink: Any, grow: Any, x: Array, run: Callable[[Array, Any], Array]) -> Array:
        """The tile behind everything that the levels below do; ``run`` takes them a tile and a walk."""


class Stack(nnx.Module):
    """The vertical or the horizontal stack."""

    def __init__(self, nr_resnet: int, features: int, *, horizontal: bool, rngs: nnx.Rngs) -> None:
        conv: type[RowConv] | type[PixelConv] = PixelConv if horizontal else RowConv
        grow: type[RowGrow] | type[PixelGrow] = PixelGrow if horizontal else RowGrow

        def blocks(count: int, has_skip: bool) -> list[GatedBlock]:
            return [GatedBlock(conv, features, has_side=horizontal, has_skip=has_skip, rngs=rngs) for _ in range(count)]

        self.up = nnx.List([nnx.List(blocks(nr_resnet, False)) for _ in range(LEVELS)])
        down = [nr_resnet + (level < LEVELS - 1) for level in range(LEVELS)]
        self.down = nnx.List([nnx.List(blocks(count, True)) for count in down])
        self.shrink = nnx.List([conv(features, features, rngs=rngs) for _ in range(LEVELS - 1)])
        self.grow = nnx.List([grow(features, rngs=rngs) for _ in range(LEVELS - 1)])

    def __call__(self, x: Array, walk: Any, level: int = 0) -> Array:
        """The output of ``level``, 0 being the finest, for its input x. Skips are used last in, first out."""
        skips = [x]
        for block in self.up[level]:
            x = walk.block(block, x, None)
            skips.append(x)
        if level < LEVELS - 1:
            x = walk.below(self.shrink[level], self.grow[level], x, lambda y, deeper: self(y, deeper, level + 1))
        else:
            skips.pop()  # it is x itself
        for block in self.down[level]:
            x = walk.block(block, x, skips.pop())
        return x

    def blocks(self, level: int) -> list[GatedBlock]:
        """All blocks of a level in the order of computation."""
        return [*self.up[level], *self.down[level]]

    def empty_lines(self, width: int, batch_size: int, dtype: Any) -> Lines:
        """What the rows above the image hold: zeros."""
        features = self.grow[0].weight.folded().bias.shape[0]

        def inputs(level: int) -> Array:
            channels = 4 * features * len(self.blocks(level)) + features * (level < LEVELS - 1)
            return jnp.zeros((width >> level, batch_size, channels), dtype)

        low = [jnp.zeros((width >> level, batch_size, features), dtype) for level in range(1, LEVELS)]
        return Lines(tuple(inputs(level) for level in range(LEVELS)), tuple(low))


class Lines(NamedTuple):
    """The last row of every layer's input, level by level: all that the rows below it will read.

    ``inputs`` has a row (W / 2^l, batch, channels) for each level, the layers' channels side by side in the order of
    computation; ``low`` the outputs of levels 1 and 2, which the rows that these levels lack are grown from.
    """

    inputs: tuple[Array, ...]
    low: tuple[Array, ...]


PERIOD = 2 ** (LEVELS - 1)  # tiles that start at multiples of so many rows have the same spans


class Span(NamedTuple):
    """The rows of a level that a tile of image rows has: ``height`` of them, of which ``valid`` exist.

    ``height`` is static. Where the tile's start is not known when compiling, it is the largest that can be.
    """

    height: int
    valid: Start
    odd: Start  # 1 where the first of them has an odd number


def spans(first: Start, height: int, *, aligned: bool = False) -> tuple[Span, ...]:
    """The spans of image rows [first, first + height), by level; ``aligned``: PERIOD is known to divide ``first``."""
    begin = 0 if aligned else first
    found = []
    for level in range(LEVELS):
        valid, odd = rows_between(begin, height, level), rows_before(begin, level) % 2
        found.append(Span(valid if isinstance(valid, int) else -(-height // 2**level), valid, odd))
    return tuple(found)


def rows_before(row: Start, level: int) -> Start:
    """How many rows a level has of the image rows before ``row``."""
    return (row + 2**level - 1) // 2**level


def rows_between(first: Start, height: Start, level: int) -> Start:
    """How many rows a level has of the image rows [first, first + height)."""
    return rows_before(first + height, level) - rows_before(first, level)


def _rows(frame: Float[Array, "h W B C"], first: Start, count: int) -> Float[Array, "_ W B C"]:
    """Rows [first, first + count), zeros where they pass the end."""
    if isinstance(first, int):
        short = max(0, first + count - frame.shape[0])
        return jnp.pad(frame[first : first + count], ((0, short), (0, 0), (0, 0), (0, 0)))
    padded = jnp.pad(frame, ((0, count), (0, 0), (0, 0), (0, 0)))
    return lax.dynamic_slice_in_dim(padded, first, count)


class Kept(NamedTuple):
    """What a walk by rows leaves behind, by level from some level on."""

    outputs: tuple[list[Array], ...]  # of the blocks
    inputs: tuple[Array, ...]  # as in Lines
    low: tuple[Array, ...]  # as in Lines


class RowsWalk:
    """A tile of whole rows in one level, arrays (rows, columns, batch, channels)."""

    def __init__(
        self,
        tile: Sequence[Span],
        lines: Lines,
        sides: tuple[list[Array], ...] | None,
        drop: Callable[[Array], Array],
        cuts: Sequence[Any] | None = None,
        level: int = 0,
    ) -> None:
        """Begin a level.

        Args:
            tile: the tile's spans in all levels.
            lines: of the rows above the tile.
            sides: the vertical stack's block outputs by level, for the horizontal stack.
            drop: applied inside blocks.
            cuts: for each level the numbers of rows behind which lines are kept; None: once, behind the last row.
            level: which one.
        """
        self.tile, self.lines, self.sides, self.drop, self.level = tile, lines, sides, drop, level
        self.cuts = [span.valid for span in tile] if cuts is None else cuts
        self._outputs: list[Array] = []
        self._inputs: list[Array] = []
        self._above = _Channels(lines.inputs[level])
        self._below = Kept((), (), ())

    def kept(self) -> Kept:
        """From this level on, once it has been walked."""
        outputs, inputs, low = self._below
        return Kept((self._outputs, *outputs), (jnp.concatenate(self._inputs, -1), *inputs), low)

    def block(self, block: GatedBlock, x: Array, skip: Array | None) -> Array:
        """See Walk."""
        above = self._above.pair(2 * x.shape[-1])
        side = None if self.sides is None else self.sides[self.level][len(self._outputs)]
        sources = [source for source in (side, skip) if source is not None]
        x, frames = block.rows(x, sources, above, self.drop)
        self._inputs += [frame[self.cuts[self.level]] for frame in frames]
        self._outputs.append(x)
        return x

    def below(self, shrink: Any, grow: Any, x: Array, run: Callable[[Array, Any], Array]) -> Array:
        """See Walk. Row i of the level below reads rows 2i - 1 and 2i of this one, and gives rows 2i and 2i + 1."""
        here, lower = self.tile[self.level], self.tile[self.level + 1]
        frame = jnp.concatenate([self._above.take(x.shape[-1])[None], x])
        self._inputs.append(frame[self.cuts[self.level]])
        last = self.lines.low[self.level][None]

        def go() -> tuple[Array, Kept]:
            walk = RowsWalk(self.tile, self.lines, self.sides, self.drop, self.cuts, self.level + 1)
            y = run(shrink(_rows(frame, here.odd, 2 * lower.height), stride=2), walk)
            return y, walk.kept()

        if lower.height == 0:
            y, below = last[:0], self._untouched(())
        elif here.height == 1 and not isinstance(lower.valid, int):
            shapes, kept = jax.eval_shape(go)
            nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes, kept.outputs))
            y, below = lax.cond(lower.valid > 0, go, lambda: (nothing[0], self._untouched(nothing[1])))
        else:
            y, below = go()
        both = jnp.concatenate([last, y])
        self._below = below._replace(low=(both[self.cuts[self.level + 1]], *below.low))
        if isinstance(here.odd, int) and here.odd == 0:
            return _rows(grow(y), 0, here.height)
        return _rows(grow(both), 2 - here.odd, here.height)

    def _untouched(self, outputs: tuple[list[Array], ...]) -> Kept:
        """What the levels below leave where the tile has no row of theirs."""
        return Kept(outputs, self.lines.inputs[self.level + 1 :], self.lines.low[self.level + 1 :])


def row_shares(
    stack: Stack, lines: Lines, sides: tuple[list[Array], ...], row: Int[Array, ""]
) -> tuple[Float[Array, "_ B S"], ...]:
    """All that is known of a row of the horizontal stack before its first pixel, by level.

    Args:
        stack: the horizontal stack.
        lines: of the row above.
        sides: the vertical stack's block outputs on this row, by level.
        row: the image row. Levels that have no such row get zeros.

    Returns:
        For each level (W / 2^l, batch, channels): the share of what it is shrunk from, then those of its blocks.
    """
    features = lines.low[0].shape[-1]
    shrunk: Array | None = None  # what the level is shrunk from, in the row above
    found = []
    for level in range(LEVELS):
        above = _Channels(lines.inputs[level])
        up = [above.pair(2 * features) for _ in stack.up[level]]
        next_shrunk = above.take(features) if level < LEVELS - 1 else None
        pairs = [*up, *(above.pair(2 * features) for _ in stack.down[level])]
        compute = partial(_level_shares, stack, level, shrunk, pairs, sides[level])
        found.append(compute() if level == 0 else _if_there(row, level, compute))
        shrunk = next_shrunk
    return tuple(found)


def _level_shares(
    stack: Stack, level: int, shrunk: Array | None, pairs: Sequence[tuple[Array, Array]], sides: Sequence[Array]
) -> Float[Array, "_ B S"]:
    shares: list[Array] = []
    if shrunk is not None:
        shrink = stack.shrink[level - 1]
        assert isinstance(shrink, PixelConv)
        shares.append(shrink.from_above(shrunk, stride=2))
    for block, above, side in zip(stack.blocks(level), pairs, sides, strict=True):
        shares += block.shares(above, side[0])
    return jnp.concatenate(shares, -1)


def _if_there(row: Int[Array, ""], level: int, compute: Callable[[], Array]) -> Array:
    """What ``compute`` gives if the level has the image row, else zeros."""
    shape = jax.eval_shape(compute)
    return lax.cond(row % 2**level == 0, compute, lambda: jnp.zeros(shape.shape, shape.dtype))


class _Channels:
    """Takes an array's channels from the first to the last, in the order in which they were put side by side."""

    def __init__(self, array: Float[Array, "*S C"]) -> None:
        self.array, self.taken = array, 0

    def take(self, count: int) -> Float[Array, "*S _"]:
        self.taken += count
        return self.array[..., self.taken - count : self.taken]

    def pair(self, count: int) -> tuple[Float[Array, "*S _"], Float[Array, "*S _"]]:
        """Twice as many, in two halves."""
        return self.take(count), self.take(count)


class Neighbours(NamedTuple):
    """What a pixel's walk reads, by level, at the level's column: arrays (batch, channels)."""

    shares: tuple[Array, ...]  # see row_shares
    left: tuple[Array, ...]  # the layers' inputs one column to the left
    held: tuple[Array, ...]  # and in this column, as they stand
    low: tuple[Array, ...]  # see Lines


class PixelWalk:
    """One pixel of the horizontal stack in one level, arrays (batch, channels)."""

    def __init__(self, neighbours: Neighbours, row: Int[Array, ""], column: Int[Array, ""], level: int = 0) -> None:
        """Begin level ``level`` at its own (row, column)."""
        self.neighbours, self.row, self.column, self.level = neighbours, row, column, level
        self.shares, self.left = _Channels(neighbours.shares[level]), _Channels(neighbours.left[level])
        self._inputs: list[Array] = []
        self._below: tuple[tuple[Array, ...], tuple[Array, ...]] = (), ()

    def kept(self) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """By level from this one on: this column of ``Lines.inputs`` and ``Lines.low``."""
        inputs, low = self._below
        return (jnp.concatenate(self._inputs, -1), *inputs), low

    def block(self, block: GatedBlock, x: Array, skip: Array | None) -> Array:
        """See Walk."""
        features = x.shape[-1]
        shares = self.shares.take(features), self.shares.take(2 * features)
        x, inputs = block.step(x, skip, shares, self.left.pair(2 * features))
        self._inputs += inputs
        return x

    def below(self, shrink: Any, grow: Any, x: Array, run: Callable[[Array, Any], Array]) -> Array:
        """See Walk. The levels below change where row and column are even; else they stand as they are."""
        level, now = self.level, self.neighbours
        left = self.left.take(x.shape[-1])
        self._inputs.append(x)

        def go() -> tuple[Array, tuple[tuple[Array, ...], tuple[Array, ...]]]:
            walk = PixelWalk(now, self.row // 2, self.column // 2, level + 1)
            y = run(shrink.step(walk.shares.take(x.shape[-1]), left, x), walk)
            return y, walk.kept()

        y, (inputs, low) = lax.cond(
            (self.row % 2 == 0) & (self.column % 2 == 0),
            go,
            lambda: (now.low[level], (now.held[level + 1 :], now.low[level + 1 :])),
        )
        self._below = inputs, (y, *low)
        grown: Array = grow.step(y, self.row, self.column)
        return grown
