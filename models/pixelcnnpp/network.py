"""PixelCNN++ as a causal network: the full pass, rows and single pixels from one set of layers.

Pixel (i, j) is equation i * W + j. The vertical stack reads the rows above; the horizontal stack also the pixels to
the left, and the vertical stack's outputs. So a cached pass computes, at the start of a row, the vertical stack on all
of it and of the horizontal stack all but the shares of the pixels to the left.

Arrays are (rows, columns, batch, channels), which is the layout of the state: a block of rows needs no transposition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from models.pixelcnnpp.dense import Dense
from models.pixelcnnpp.gated_block import elu
from models.pixelcnnpp.lines import Line, Lines, no_line, pick, put
from models.pixelcnnpp.pixel_conv import PixelConv
from models.pixelcnnpp.pixel_walk import Neighbours, PixelWalk, row_shares
from models.pixelcnnpp.row_conv import RowConv
from models.pixelcnnpp.rows_walk import PERIOD, RowsWalk, rows_between, spans
from models.pixelcnnpp.stack import LEVELS, Stack
from solvers.system import EQUATIONS
from solvers.trees.blocks import Start
from solvers.trees.platform import on_cpu


class RowScratch(NamedTuple):
    """A row in work, pixel by pixel. It has no meaning at the start of a row."""

    entry: Float[Array, "W B F"]  # the horizontal stack's input, as far as the rows above give it
    shares: tuple[Line, ...]  # see row_shares
    left: tuple[Line, ...]  # the inputs of all layers, one column to the left
    values: Float[Array, "W B C"]


class PixelCNNPPCache(NamedTuple):
    """The prefix: whole rows, and of the row in work the pixels so far."""

    pixels: Float[Array, "2 W B D"]  # the two rows above, with a channel of ones inside the image
    vertical: Lines
    horizontal: Lines
    row: RowScratch


class OpenRow(NamedTuple):
    """A row in forward substitution."""

    number: Int[Array, ""]
    cache: PixelCNNPPCache


class PixelCNNPPNetwork(nnx.Module):
    """The layers. With folded weights it is a CausalNetwork for solvers; with weight norm it trains."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        nr_resnet: int,
        features: int,
        num_params: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.image_shape = image_shape
        channels = image_shape[-1] + 1
        self.vertical_input = RowConv(channels, features, rngs=rngs)
        self.above_input = RowConv(channels, features, height=1, rngs=rngs)
        self.left_input = PixelConv(channels, features, width=1, rngs=rngs)
        self.vertical = Stack(nr_resnet, features, horizontal=False, rngs=rngs)
        self.horizontal = Stack(nr_resnet, features, horizontal=True, rngs=rngs)
        self.output = Dense(features, num_params, init_scale=0.1, rngs=rngs)

    @property
    def num_equations(self) -> int:
        """The number of equations, H * W: one a pixel, with all its channels."""
        return self.image_shape[0] * self.image_shape[1]

    @property
    def undivided(self) -> Mapping[str, str]:
        """Devices share samples, not pixels; see Undivided of the solvers' systems."""
        return {
            EQUATIONS: "a row of pixels reads all rows above it at three scales; divide the batch: mesh: {batch: N}"
        }

    @property
    def block_unit(self) -> int:
        """Blocks start with a row."""
        return self.image_shape[1]

    def init_cache(self, batch_size: int, dtype: Any) -> PixelCNNPPCache:
        """The cache of the empty prefix: above the image there are zeros."""
        _, width, channels = self.image_shape
        vertical, horizontal = (s.empty_lines(width, batch_size, dtype) for s in (self.vertical, self.horizontal))
        features = self.output.weight.folded().kernel.shape[0]

        def shares(level: int) -> Line:
            widths = [features] * (level > 0) + [features, 2 * features] * len(self.horizontal.blocks(level))
            return no_line((width >> level, batch_size), widths, dtype)

        row = RowScratch(
            entry=jnp.zeros((width, batch_size, features), dtype),
            shares=tuple(shares(level) for level in range(LEVELS)),
            left=jax.tree.map(lambda line: jnp.zeros_like(line[0]), horizontal.inputs),
            values=jnp.zeros((width, batch_size, channels), dtype),
        )
        return PixelCNNPPCache(jnp.zeros((2, width, batch_size, channels + 1), dtype), vertical, horizontal, row)

    def conditionals(
        self, x: Float[Array, "S B C"], cache: PixelCNNPPCache, start: Start, size: int, keep: Start
    ) -> tuple[Float[Array, "S B K"], PixelCNNPPCache]:
        """The head's parameters of pixels [start, start + size), whole rows or one pixel; see CausalNetwork."""
        width = self.image_shape[1]
        if size == 1:
            return self._one_pixel(cache, start)
        rows, first = x.reshape(size // width, width, *x.shape[1:]), start // width
        if isinstance(keep, int) and keep == size:
            # Blocks in order: the start is a multiple of the size.
            params, cache = self._strips(rows, cache, first, aligned=len(rows) % PERIOD == 0)
        else:
            cuts = [rows_between(first, keep // width, level) for level in range(LEVELS)]
            params, cache = self.rows(rows, cache, first, cuts=cuts)
        return params.reshape(size, *params.shape[2:]), cache

    def record(
        self, values: Float[Array, "S B C"], cache: PixelCNNPPCache, start: Start, keep: Start
    ) -> PixelCNNPPCache:
        """Add the first values of whole rows, or that of one pixel."""
        width = self.image_shape[1]
        if values.shape[0] == 1:
            column = jnp.asarray(start % width)
            block = self.record_step(OpenRow(jnp.asarray(start // width), cache), values, column)
            return _when(column == width - 1, _close, block.cache)
        rows = with_ones(values.reshape(-1, width, *values.shape[1:]))
        above = lax.dynamic_slice_in_dim(jnp.concatenate([cache.pixels, rows]), keep // width, 2)
        return cache._replace(pixels=above)

    def rows(
        self,
        x: Float[Array, "h W B C"],
        cache: PixelCNNPPCache,
        first: Start,
        *,
        aligned: bool = False,
        drop: Callable[[Array], Array] = lambda x: x,
        cuts: Any = None,
    ) -> tuple[Float[Array, "h W B K"], PixelCNNPPCache]:
        """The head's parameters of whole rows from row ``first``, and the cache behind them but for their pixels.

        ``aligned``: see spans. ``drop``: dropout. ``cuts``: see RowsWalk.
        """
        tile = spans(first, x.shape[0], aligned=aligned)
        pixels = jnp.concatenate([cache.pixels, with_ones(x)])
        above = self._from_above(pixels[:-1], first)
        walk = RowsWalk(tile, cache.vertical, None, drop, cuts)
        self.vertical(above[0], walk)
        vertical = walk.kept()
        left = self.left_input(pixels[1:])[:, :-1]
        entry = above[1] + jnp.pad(left, ((0, 0), (1, 0), (0, 0), (0, 0)))
        walk = RowsWalk(tile, cache.horizontal, vertical.seen, drop, cuts)
        out = self.horizontal(entry, walk)
        cache = cache._replace(vertical=vertical.lines, horizontal=walk.kept().lines)
        return self.output(elu(out)), cache

    def _strips(
        self, x: Float[Array, "h W B C"], cache: PixelCNNPPCache, first: Start, *, aligned: bool
    ) -> tuple[Float[Array, "h W B K"], PixelCNNPPCache]:
        """The result of ``rows``, on a CPU a few rows at a time: its caches hold the features of these, not of all."""
        if not aligned or len(x) <= PERIOD or not on_cpu():
            return self.rows(x, cache, first, aligned=aligned)

        def strip(carry: tuple[PixelCNNPPCache, Start], rows: Array) -> tuple[Any, Array]:
            cache, first = carry
            params, cache = self.rows(rows, cache, first, aligned=True)
            return (cache._replace(pixels=with_ones(rows[-2:])), first + PERIOD), params

        strips = x.reshape(-1, PERIOD, *x.shape[1:])
        (after, _), params = lax.scan(strip, (cache, jnp.asarray(first)), strips)
        return params.reshape(len(x), *params.shape[2:]), after._replace(pixels=cache.pixels)

    def prefix_caches(self, x: Float[Array, "T B C"], block_size: int) -> PixelCNNPPCache:
        """Caches at all multiples of block_size, from one pass over whole rows."""
        height, width, _ = self.image_shape
        starts = np.arange(0, height, block_size // width)
        rows = x.reshape(height, width, *x.shape[1:])
        empty = self.init_cache(x.shape[1], x.dtype)
        _, cache = self.rows(rows, empty, 0, cuts=[-(-starts // 2**level) for level in range(LEVELS)])
        pixels = jnp.concatenate([empty.pixels, with_ones(rows)])
        scratch = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(starts), *a.shape)), empty.row)
        return cache._replace(pixels=pixels[starts[:, None] + np.arange(2)], row=scratch)

    def stretch(self, size: int, batch_size: int) -> int:
        """Rows are opened one after the other."""
        return self.image_shape[1]

    def open_block(self, cache: PixelCNNPPCache, start: Start, size: int) -> OpenRow:
        """The vertical stack on a row, and all that the horizontal stack can know of the row before its first pixel."""
        number = jnp.asarray(start // self.image_shape[1], jnp.int32)
        vertical_input, above = self._from_above(cache.pixels, number)
        walk = RowsWalk(spans(number, 1), cache.vertical, None, lambda x: x)
        self.vertical(vertical_input, walk)
        kept = walk.kept()
        left = self.left_input.from_above(cache.pixels[1])[:-1]
        row = RowScratch(
            entry=above[0] + jnp.pad(left, ((1, 0), (0, 0), (0, 0))),
            shares=row_shares(self.horizontal, cache.horizontal, kept.seen, number),
            left=jax.tree.map(jnp.zeros_like, cache.row.left),
            values=jnp.zeros_like(cache.row.values),
        )
        return OpenRow(number, cache._replace(vertical=kept.lines, row=row))

    def step_block(self, block: OpenRow, i: Int[Array, ""]) -> tuple[Float[Array, "1 B K"], OpenRow]:
        """The parameters of pixel i of the row."""
        number, cache = block
        row, lines = cache.row, cache.horizontal
        columns = [i >> level for level in range(LEVELS)]
        neighbours = Neighbours(
            shares=row.shares,
            left=row.left,
            held=tuple(map(pick, lines.inputs, columns)),
            low=tuple(map(pick, lines.low, columns[1:])),
        )
        before = with_ones(pick(row.values, jnp.maximum(i - 1, 0)))
        x = pick(row.entry, i) + jnp.where(i > 0, before @ self.left_input.own_kernel(), 0.0)
        walk = PixelWalk(neighbours, number, i)
        params = self.output(elu(self.horizontal(x, walk)))
        inputs, low = walk.kept()
        lines = Lines(tuple(map(put, lines.inputs, inputs, columns)), tuple(map(put, lines.low, low, columns[1:])))
        return params[None], OpenRow(number, cache._replace(horizontal=lines, row=row._replace(left=inputs)))

    def record_step(self, block: OpenRow, value: Float[Array, "1 B C"], i: Int[Array, ""]) -> OpenRow:
        """Add the value of pixel i of the row."""
        row = block.cache.row
        values = lax.dynamic_update_slice_in_dim(row.values, value.astype(row.values.dtype), i, 0)
        return block._replace(cache=block.cache._replace(row=row._replace(values=values)))

    def close_block(self, cache: PixelCNNPPCache, block: OpenRow) -> tuple[Float[Array, "W B C"], PixelCNNPPCache]:
        """The row's values, and the cache behind it."""
        return block.cache.row.values, _close(block.cache)

    def _from_above(self, pixels: Float[Array, "p W B D"], first: Start) -> tuple[Array, Array]:
        """Both stacks' inputs of the rows below ``pixels``, from two rows above row ``first`` on, as these give them.

        Row 0 has no input, nor the layers' bias.
        """
        rows = pixels.shape[0] - 1
        inside = (first + jnp.arange(rows) > 0)[:, None, None, None]
        vertical = self.vertical_input(pixels)
        above = self.above_input(pixels[1:])
        return jnp.where(inside, vertical, 0.0), jnp.where(inside, above, 0.0)

    def _one_pixel(self, cache: PixelCNNPPCache, start: Start) -> tuple[Float[Array, "1 B K"], PixelCNNPPCache]:
        """A cached step: open the row if the pixel is its first, then a step of the row."""
        row, column = jnp.asarray(start // self.image_shape[1]), jnp.asarray(start % self.image_shape[1])
        cache = _when(column == 0, _open, cache, self, row)
        params, block = self.step_block(OpenRow(row, cache), column)
        return params, block.cache


def _open(cache: PixelCNNPPCache, network: PixelCNNPPNetwork, row: Int[Array, ""]) -> PixelCNNPPCache:
    width = network.image_shape[1]
    return network.open_block(cache, row * width, width).cache


def _close(cache: PixelCNNPPCache) -> PixelCNNPPCache:
    """The cache behind a finished row."""
    pixels = jnp.stack([cache.pixels[1], with_ones(cache.row.values)])
    return cache._replace(pixels=pixels, row=jax.tree.map(jnp.zeros_like, cache.row))


def with_ones(x: Float[Array, "*S C"]) -> Float[Array, "*S D"]:
    """Pixels with a channel of ones, which tells the network where the image ends."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)


def _when(flag: Array, update: Any, state: Any, *operands: Any) -> Any:
    """update(state, *operands) if flag, else state.

    A loop of 0 or 1 rounds, which leaves the state in place where a conditional would copy it. The barrier keeps the
    compiler from moving work that does not depend on the state out of the loop, where it would be done every time.
    """

    def body(i: Any, state: Any) -> Any:
        state, here, _ = lax.optimization_barrier((state, operands, i))
        return update(state, *here)

    return lax.fori_loop(0, jnp.where(flag, 1, 0), body, state)
