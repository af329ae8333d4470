"""Whole rows on their way through a stack: how many rows of each level a tile has, and what is kept for the rows below.

Level l has no row for an image row that 2^l does not divide. So a tile of rows has a span of rows in every level, and
how long it is depends on where the tile starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from models.pixelcnnpp.gated_block import GatedBlock, concat_elu
from models.pixelcnnpp.lines import Channels, Line, Lines, line_of
from models.pixelcnnpp.skips import Skips
from models.pixelcnnpp.stack import LEVELS
from solvers.trees.blocks import Start

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


def _cut(frame: Float[Array, "h W B C"], rows: Any) -> Array:
    """The row, or several, behind which lines are kept."""
    # A number that is known gives a plain slice; other rows are found by a function that is traced once for each shape.
    return frame[rows] if isinstance(rows, int) else _pick_rows(frame, rows)


@jax.jit
def _pick_rows(frame: Float[Array, "h W B C"], rows: Int[Array, "*n"]) -> Float[Array, "*n W B C"]:
    return frame[rows]


class Kept(NamedTuple):
    """The results of a walk by rows, by level from some level on."""

    seen: tuple[list[Array], ...]  # what concat_elu gives for the blocks' outputs
    inputs: tuple[Line, ...]  # as in Lines
    low: tuple[Array, ...]  # as in Lines

    @property
    def lines(self) -> Lines:
        """The lines behind the walk."""
        return Lines(self.inputs, self.low)


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
        """Begin the walk through a level.

        Args:
            tile: the tile's spans in all levels.
            lines: of the rows above the tile.
            sides: what the vertical stack's walk kept of its blocks, by level, for the horizontal stack.
            drop: applied inside blocks.
            cuts: for each level the numbers of rows behind which lines are kept; None: once, behind the last row.
            level: which one.
        """
        self.tile, self.lines, self.sides, self.drop, self.level = tile, lines, sides, drop, level
        self.cuts = [span.valid for span in tile] if cuts is None else cuts
        self._outputs: list[Array] = []
        self._seen: list[tuple[Array, Array]] = []  # blocks' inputs, and what concat_elu gives for them
        self._inputs: list[Array] = []
        self._above = Channels(lines.inputs[level])
        self._below = Kept((), (), ())

    def kept(self) -> Kept:
        """The results of the walk, from this level on, once it has been walked."""
        seen, inputs, low = self._below
        return Kept(([self._see(x) for x in self._outputs], *seen), (line_of(self._inputs), *inputs), low)

    def extras(self, layers: Skips, skips: Sequence[Array] | None) -> Sequence[Array]:
        """What the skip layers of the blocks to come give; see Walk."""
        sources = []
        if self.sides is not None:
            sources.append(self.sides[self.level][len(self._outputs) :][: len(layers.biases)])
        if skips is not None:
            sources.append([self._see(skip) for skip in skips])
        return layers.rows(list(zip(*sources, strict=True)))

    def block(self, block: GatedBlock, x: Array, extra: Array | None) -> Array:
        """Walk the tile through a block; see Walk."""
        given = x
        x, frames = block.rows(x, extra, self._above.pair(2 * x.shape[-1]), self.drop)
        self._inputs += [_cut(frame, self.cuts[self.level]) for frame in frames]
        self._seen.append((given, frames[0][1:]))
        self._outputs.append(x)
        return x

    def _see(self, x: Array) -> Array:
        """What concat_elu gives for x; where x went into a block, its frame has it."""
        found = [seen for given, seen in self._seen if given is x]
        return found[0] if found else concat_elu(x)

    def below(self, shrink: Any, grow: Any, x: Array, run: Callable[[Array, Any], Array]) -> Array:
        """Walk the tile through the levels below; see Walk.

        Row i of the level below reads rows 2i - 1 and 2i of this one, and gives rows 2i and 2i + 1.
        """
        here, lower = self.tile[self.level], self.tile[self.level + 1]
        frame = jnp.concatenate([self._above.take(x.shape[-1])[None], x])
        self._inputs.append(_cut(frame, self.cuts[self.level]))
        last = self.lines.low[self.level][None]

        def go() -> tuple[Array, Kept]:
            walk = RowsWalk(self.tile, self.lines, self.sides, self.drop, self.cuts, self.level + 1)
            y = run(shrink(_rows(frame, here.odd, 2 * lower.height), stride=2), walk)
            return y, walk.kept()

        if lower.height == 0:
            y, below = last[:0], self._untouched(())
        elif here.height == 1 and not isinstance(lower.valid, int):
            shapes, kept = jax.eval_shape(go)
            nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes, kept.seen))
            y, below = lax.cond(lower.valid > 0, go, lambda: (nothing[0], self._untouched(nothing[1])))
        else:
            y, below = go()
        both = jnp.concatenate([last, y])
        self._below = below._replace(low=(_cut(both, self.cuts[self.level + 1]), *below.low))
        if isinstance(here.odd, int) and here.odd == 0:
            return _rows(grow(y), 0, here.height)
        return _rows(grow(both), 2 - here.odd, here.height)

    def _untouched(self, seen: tuple[list[Array], ...]) -> Kept:
        """The results of the levels below where the tile has no row of theirs."""
        return Kept(seen, self.lines.inputs[self.level + 1 :], self.lines.low[self.level + 1 :])
