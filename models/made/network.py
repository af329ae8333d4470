"""MADE in the inference form: masks folded into the weights, one definition for every block size.

Hidden units are sorted by degree (the last input that a unit depends on), so the units that equations [start, start +
size) need beyond those of the prefix are a contiguous window of every layer. The cache keeps the values x and the
hidden units that are final; a block computes its window, each unit as one dot product over its finished inputs, and a
whole cached sample costs about one forward pass. A sweep is the window of everything.

Features come before batch in memory: x (T, B), hidden (units, B).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from models.layers.products import written_once
from solvers.heads.logistic import LocationScale
from solvers.system import EQUATIONS
from solvers.trees.blocks import Start, put_block, take_block
from solvers.trees.pytree import pytree

Layer: TypeAlias = tuple[Float[Array, "_ _"], Float[Array, " _"]]


class MADECache(NamedTuple):
    """The prefix: its values, and the hidden units that read its inputs up to the last but one. Zeros elsewhere."""

    x: Float[Array, "T B"]
    hidden: tuple[Float[Array, "_ B"], ...]


class MADEBlock(NamedTuple):
    """A block in forward substitution: the prefix's share of every sum, and the weights inside the block."""

    start: Int[Array, ""]
    x: Float[Array, "S B"]
    hidden: tuple[Float[Array, "_ B"], ...]  # this block's window of each layer
    sums: tuple[Float[Array, "_ B"], ...]  # bias and the prefix's share, by layer
    weights: tuple[Float[Array, "_ _"], ...]  # from the window (or block of x) below
    output_sums: Float[Array, "S 2 B"]
    output_weights: Float[Array, "S 2 K"]


@pytree
@dataclass(frozen=True)
class MADENetwork:
    """h_0 = x, h_l = relu(W_l h_{l-1} + b_l), (mean_t, log_scale_t) = V_t h_L + c_t, with masked W and V."""

    hidden: tuple[Layer, ...]
    output: tuple[Float[Array, "T 2 _"], Float[Array, "T 2"]]
    degrees: tuple[tuple[int, ...], ...] = field(metadata={"static": True})

    @property
    def num_equations(self) -> int:
        """The number of equations, T: one a pixel and channel."""
        return int(self.output[0].shape[0])

    @property
    def block_unit(self) -> int:
        """Blocks may start anywhere."""
        return 1

    def partition_specs(self) -> MADENetwork:
        """Weights of the equations' own values lie where these do; hidden units are whole on every device.

        See Divisible of the solvers' systems.
        """
        whole, of_equations, reading_them = (
            cast(Any, spec) for spec in (PartitionSpec(), PartitionSpec(EQUATIONS), PartitionSpec(None, EQUATIONS))
        )
        hidden = tuple((whole if layer else reading_them, whole) for layer in range(len(self.hidden)))
        return MADENetwork(hidden, (of_equations, of_equations), self.degrees)

    def init_cache(self, batch_size: int, dtype: Any) -> MADECache:
        """The cache of the empty prefix: zeros."""
        units = tuple(jnp.zeros((len(bias), batch_size), dtype) for _, bias in self.hidden)
        return MADECache(jnp.zeros((self.num_equations, batch_size), dtype), units)

    def conditionals(
        self, x: Float[Array, "S B"], cache: MADECache, start: Start, size: int, keep: Start
    ) -> tuple[LocationScale, MADECache]:
        """Parameters of x_start .. x_{start+size-1}; see CausalNetwork."""
        below = put_block(cache.x, x, start) if size > 1 else cache.x  # one equation does not read its own guess
        hidden = []
        for layer, (weight, bias) in enumerate(self.hidden):
            window = self._window(layer, start, size)
            units = jax.nn.relu(window.rows(weight) @ below + window.rows(bias)[:, None])
            below = window.put(cache.hidden[layer], units)
            kept = window._replace(last=self._units_before(layer, start + keep))
            hidden.append(kept.put(cache.hidden[layer], units))
        weight, bias = (take_block(a, start, size) for a in self.output)
        # Else a library's product would add the bias, and want it written out for every sample first.
        params = written_once(jnp.einsum("spu,ub->spb", weight, below)) + bias[:, :, None]
        return LocationScale(params[:, 0], params[:, 1]), MADECache(cache.x, tuple(hidden))

    def record(self, values: Float[Array, "S B"], cache: MADECache, start: Start, keep: Start) -> MADECache:
        """Add the first ``keep`` of a block's values."""
        inside = jnp.arange(values.shape[0])[:, None] < keep
        return cache._replace(
            x=put_block(cache.x, jnp.where(inside, values, take_block(cache.x, start, values.shape[0])), start)
        )

    def prefix_caches(self, x: Float[Array, "T B"], block_size: int) -> MADECache:
        """Caches at all multiples of block_size: one sweep's units, each cache with those of its own prefix."""
        _, swept = self.conditionals(x, self.init_cache(x.shape[1], x.dtype), 0, self.num_equations, self.num_equations)
        starts = np.arange(0, self.num_equations, block_size)
        known = np.arange(self.num_equations)[None, :] < starts[:, None]
        final = [np.asarray(degrees)[None, :] <= starts[:, None] - 2 for degrees in self.degrees]
        final = [units & (starts[:, None] > 0) for units in final]
        return MADECache(_zero_unless(known, x), tuple(map(_zero_unless, final, swept.hidden)))

    def stretch(self, size: int, batch_size: int) -> int:
        """A block of any size can be opened at once."""
        return size

    def open_block(self, cache: MADECache, start: Start, size: int) -> MADEBlock:
        """The prefix's share of all that the block will compute: one matrix product a layer."""
        windows = [self._window(layer, start, size) for layer in range(len(self.hidden))]
        below, inside = cache.x, _Window(start, size, start, self.num_equations)
        sums, weights = [], []
        for layer, (window, (weight, bias)) in enumerate(zip(windows, self.hidden, strict=True)):
            rows = window.rows(weight)
            sums.append(rows @ below + window.rows(bias)[:, None])
            weights.append(inside.columns(rows))
            below, inside = cache.hidden[layer], window
        weight, bias = (take_block(a, start, size) for a in self.output)
        return MADEBlock(
            start=jnp.asarray(start, jnp.int32),
            x=jnp.zeros((size, cache.x.shape[1]), cache.x.dtype),
            hidden=tuple(jnp.zeros_like(a) for a in sums),
            sums=tuple(sums),
            weights=tuple(weights),
            output_sums=jnp.einsum("spu,ub->spb", weight, below) + bias[:, :, None],
            output_weights=inside.columns(weight),
        )

    def step_block(self, block: MADEBlock, i: Int[Array, ""]) -> tuple[LocationScale, MADEBlock]:
        """The units that become final with the last value, and the parameters that they complete."""
        size = block.x.shape[0]
        below, hidden = block.x, []
        for layer, values in enumerate(block.hidden):
            base = self._window(layer, block.start, size).start
            few = min(self._widest(layer, 1), values.shape[0])
            first = jnp.clip(self._first_unit(layer, block.start + i) - base, 0, values.shape[0] - few)
            sums = lax.dynamic_slice_in_dim(block.sums[layer], first, few)
            sums = sums + lax.dynamic_slice_in_dim(block.weights[layer], first, few) @ below
            below = lax.dynamic_update_slice_in_dim(values, jax.nn.relu(sums), first, 0)
            hidden.append(below)
        params = lax.dynamic_index_in_dim(block.output_sums, i, keepdims=False)
        params = params + lax.dynamic_index_in_dim(block.output_weights, i, keepdims=False) @ below
        return LocationScale(params[None, 0], params[None, 1]), block._replace(hidden=tuple(hidden))

    def record_step(self, block: MADEBlock, value: Float[Array, "1 B"], i: Int[Array, ""]) -> MADEBlock:
        """Add the value of the block's equation i."""
        return block._replace(x=lax.dynamic_update_slice_in_dim(block.x, value.astype(block.x.dtype), i, 0))

    def close_block(self, cache: MADECache, block: MADEBlock) -> tuple[Float[Array, "S B"], MADECache]:
        """The block's values, and the cache with its values and units."""
        size = block.x.shape[0]
        hidden = tuple(
            self._window(layer, block.start, size).put(old, new)
            for layer, (old, new) in enumerate(zip(cache.hidden, block.hidden, strict=True))
        )
        return block.x, MADECache(put_block(cache.x, block.x, block.start), hidden)

    def _first_unit(self, layer: int, t: Start) -> Any:
        """The first unit that equation t needs and equation t - 1 did not: of degree t - 1 (or constant, for t = 0)."""
        return jnp.asarray(self._bounds(layer))[t]

    def _bounds(self, layer: int) -> Any:
        """For t = 0 .. T: the number of units that equations before t need."""
        degrees = np.asarray(self.degrees[layer])
        bounds = np.searchsorted(degrees, np.arange(self.num_equations + 1) - 1, side="left")
        bounds[0] = 0
        return bounds.astype(np.int32)

    def _widest(self, layer: int, size: int) -> int:
        """The largest number of units that ``size`` equations in a row add."""
        bounds = self._bounds(layer)
        ends = np.minimum(np.arange(len(bounds)) + size, self.num_equations)
        return max(1, int(np.max(bounds[ends] - bounds)))

    def _window(self, layer: int, start: Start, size: int) -> _Window:
        """The units that equations [start, start + size) add, as wide for every start."""
        units = len(self.degrees[layer])
        width = min(self._widest(layer, size), units)
        first, last = self._units_before(layer, start), self._units_before(layer, start + size)
        minimum = np.minimum if isinstance(start, int) else jnp.minimum
        return _Window(minimum(first, units - width), width, first, last)

    def _units_before(self, layer: int, t: Start) -> Any:
        """The number of units that equations before t need."""
        bounds = self._bounds(layer)
        return bounds[min(t, self.num_equations)] if isinstance(t, int) else jnp.asarray(bounds)[t]


class _Window(NamedTuple):
    """Rows [start, start + size) of a layer, of which [first, last) are meant."""

    start: Any
    size: int
    first: Any
    last: Any

    @property
    def meant(self) -> Bool[Array, " K"]:
        index = self.start + jnp.arange(self.size)
        return (index >= self.first) & (index < self.last)

    def rows(self, array: Array) -> Array:
        return lax.dynamic_slice_in_dim(array, self.start, self.size)

    def columns(self, weight: Array) -> Array:
        """Columns of the last axis; zeros for those that are not meant, whose share is in the prefix's already."""
        short = -weight.shape[-1] % self.size  # a slice that passed the end would be moved back
        padded = jnp.pad(weight, [(0, 0)] * (weight.ndim - 1) + [(0, short)])
        return jnp.where(self.meant, lax.dynamic_slice_in_dim(padded, self.start, self.size, axis=-1), 0)

    def put(self, old: Float[Array, "U B"], new: Float[Array, "K B"]) -> Float[Array, "U B"]:
        merged = jnp.where(self.meant[:, None], new, self.rows(old))
        return lax.dynamic_update_slice_in_dim(old, merged, self.start, 0)


def _zero_unless(mask: Bool[np.ndarray, "N U"], values: Float[Array, "U B"]) -> Float[Array, "N U B"]:
    return jnp.where(mask[:, :, None], values[None], 0)
