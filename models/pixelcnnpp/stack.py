"""The stacks of PixelCNN++: one list of blocks, whatever walks through it.

A stack goes up through three levels, each half the size of the one before, and down again. ``Stack`` states that
once. What differs between a tile of rows and a single pixel, namely where a layer finds its neighbours and what is kept
for later, is the business of the walk: ``RowsWalk`` (rows_walk.py) for any number of whole rows, ``PixelWalk``
(pixel_walk.py) for one pixel of a row whose part that is known beforehand was computed by ``row_shares``.

Row r of the image is row r / 2^l of level l if 2^l divides r, else level l has no such row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from models.pixelcnnpp.gated_block import GatedBlock
from models.pixelcnnpp.lines import Line, Lines, no_line
from models.pixelcnnpp.pixel_conv import PixelConv, PixelGrow
from models.pixelcnnpp.row_conv import RowConv, RowGrow
from models.pixelcnnpp.skips import Skips

LEVELS = 3


class Walk(Protocol):
    """A tile on its way through one level of a stack."""

    def extras(self, layers: Skips, skips: Sequence[Array] | None) -> Sequence[Array | None]:
        """What the skip layers of the blocks to come give, for skips in their order where they have these."""

    def block(self, block: GatedBlock, x: Array, extra: Array | None) -> Array:
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
        self.skips: list[dict[str, Skips | None]] = nnx.data([])  # by level, once laid out

    def __call__(self, x: Array, walk: Any, level: int = 0) -> Array:
        """The output of ``level``, 0 being the finest, for its input x. Skips are used last in, first out."""
        skips = [x]
        for block, extra in zip(self.up[level], self._extras(walk, "up", level, None), strict=True):
            x = walk.block(block, x, extra)
            skips.append(x)
        if level == LEVELS - 1:
            skips.pop()  # it is x itself
        extras = self._extras(walk, "down", level, skips[::-1])
        if level < LEVELS - 1:
            x = walk.below(self.shrink[level], self.grow[level], x, lambda y, deeper: self(y, deeper, level + 1))
        for block, extra in zip(self.down[level], extras, strict=True):
            x = walk.block(block, x, extra)
        return x

    def lay_out(self) -> None:
        """Keep the weights also as steps and walks read them, for those who go through the stack often."""
        self.skips = nnx.data([{way: self._skips(way, level) for way in ("up", "down")} for level in range(LEVELS)])
        for level in range(LEVELS):
            convolutions = [conv for block in self.blocks(level) for conv in (block.first, block.second)]
            for conv in [*convolutions, *self.shrink[level : level + 1]]:
                if isinstance(conv, PixelConv):
                    conv.lay_out()

    def _extras(self, walk: Any, way: str, level: int, skips: Sequence[Array] | None) -> Sequence[Array | None]:
        """What the blocks on the way up or down a level are given by their skip layers; None where they have none."""
        layers = self.skips[level][way] if self.skips else self._skips(way, level)
        return [None] * len(getattr(self, way)[level]) if layers is None else walk.extras(layers, skips)

    def _skips(self, way: str, level: int) -> Skips | None:
        layers = [block.skip for block in getattr(self, way)[level] if block.skip is not None]
        return Skips.of(layers) if layers else None

    def blocks(self, level: int) -> list[GatedBlock]:
        """All blocks of a level in the order of computation."""
        return [*self.up[level], *self.down[level]]

    def empty_lines(self, width: int, batch_size: int, dtype: Any) -> Lines:
        """The lines above the image: zeros."""
        features = self.grow[0].weight.folded().bias.shape[0]

        def inputs(level: int) -> Line:
            def of(blocks: Any) -> list[int]:
                return [2 * features] * 2 * len(blocks)

            widths = [*of(self.up[level]), *[features] * (level < LEVELS - 1), *of(self.down[level])]
            return no_line((width >> level, batch_size), widths, dtype)

        low = [jnp.zeros((width >> level, batch_size, features), dtype) for level in range(1, LEVELS)]
        return Lines(tuple(inputs(level) for level in range(LEVELS)), tuple(low))
