"""Autoregressive networks on the trunk: what is read, the trunk, and what is read off it, as a CausalNetwork."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from models.transformer.trunk import LayerCaches, Trunk
from solvers.trees.blocks import Start
from solvers.trees.pytree import pytree


class Embedding(Protocol):
    """From values to the features that the trunk reads; a registered pytree."""

    def __call__(self, values: Array, start: Start) -> Float[Array, "S B C"]:
        """Features of positions start, start + 1, ..., each from the value before it; position 0 has none to read."""

    def empty(self, batch_size: int, dtype: Any) -> Array:
        """A value (1, batch, ...) in the place of the one before position 0."""


class Readout(Protocol):
    """From the trunk's features to the parameters of a head; a registered pytree."""

    def __call__(self, h: Float[Array, "S B C"]) -> Any:
        """The parameters of each position."""


class TransformerCache(NamedTuple):
    """The prefix: its last value, and the keys and values of all its positions but that which reads it."""

    last: Array  # (1, B, ...)
    layers: LayerCaches


class TransformerBlock(NamedTuple):
    """A block in forward substitution: the cache behind the equations so far, and their values."""

    cache: TransformerCache
    values: Array  # (S, B, ...)
    start: Int[Array, ""]


@pytree
@dataclass(frozen=True)
class TransformerNetwork:
    """Position t reads x_{t-1} and attends to the positions before it. Satisfies CausalNetwork.

    The cache has room for all T positions, so that it has one shape at every length of the prefix; what lies behind the
    prefix is masked. One definition serves whole sweeps, blocks and single steps.
    """

    embedding: Any  # an Embedding
    trunk: Trunk
    readout: Any  # a Readout
    num_equations: int = field(metadata={"static": True})

    @property
    def block_unit(self) -> int:
        """Blocks may start anywhere."""
        return 1

    def init_cache(self, batch_size: int, dtype: Any) -> TransformerCache:
        """The cache of the empty prefix."""
        last = self.embedding.empty(batch_size, dtype)
        return TransformerCache(last, self.trunk.init_cache(batch_size, self.num_equations))

    def conditionals(
        self, x: Array, cache: TransformerCache, start: Start, size: int, keep: Start
    ) -> tuple[Any, TransformerCache]:
        """Parameters of equations [start, start + size); see CausalNetwork."""
        before = jnp.concatenate([cache.last, x[: size - 1].astype(cache.last.dtype)]) if size > 1 else cache.last
        h, layers = self.trunk.causal(self.embedding(before, start), cache.layers, start, keep)
        return self.readout(h), TransformerCache(cache.last, layers)

    def record(self, values: Array, cache: TransformerCache, start: Start, keep: Start) -> TransformerCache:
        """Remember the last of the first ``keep`` values."""
        known = jnp.concatenate([cache.last, values.astype(cache.last.dtype)])
        return cache._replace(last=lax.dynamic_slice_in_dim(known, keep, 1))

    def prefix_caches(self, x: Array, block_size: int) -> TransformerCache:
        """The caches at all block starts: keys and values of one sweep, of which each prefix reads its own."""
        empty = self.init_cache(x.shape[1], x.dtype)
        size = self.num_equations
        _, swept = self.conditionals(x, empty, 0, size, size)
        starts = np.arange(0, size, block_size)
        last = jnp.concatenate([empty.last, x.astype(empty.last.dtype)])[starts][:, None]
        layers = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(starts), *leaf.shape)), swept.layers)
        return TransformerCache(last, layers)

    def stretch(self, size: int, batch_size: int) -> int:
        """A block of any size can be opened at once."""
        return size

    def open_block(self, cache: TransformerCache, start: Start, size: int) -> TransformerBlock:
        """Nothing that attends to a prefix can be computed before it is asked for."""
        values = jnp.zeros((size, *cache.last.shape[1:]), cache.last.dtype)
        return TransformerBlock(cache, values, jnp.asarray(start))

    def step_block(self, block: TransformerBlock, i: Int[Array, ""]) -> tuple[Any, TransformerBlock]:
        """Parameters of the block's equation i: a block of one."""
        params, cache = self.conditionals(block.cache.last, block.cache, block.start + i, 1, 1)
        return params, block._replace(cache=cache)

    def record_step(self, block: TransformerBlock, value: Array, i: Int[Array, ""]) -> TransformerBlock:
        """Add the value of the block's equation i."""
        values = lax.dynamic_update_slice_in_dim(block.values, value.astype(block.values.dtype), i, 0)
        return block._replace(cache=self.record(value, block.cache, block.start + i, 1), values=values)

    def close_block(self, cache: TransformerCache, block: TransformerBlock) -> tuple[Array, TransformerCache]:
        """The block's values and the cache after it."""
        return block.values, block.cache
