"""Attention of grouped heads over keys and values that lie as caches hold them, and the turns that tell positions.

Vaswani et al., "Attention is all you need", 2017 (arXiv 1706.03762); Ainslie et al., "GQA", 2023 (arXiv 2305.13245);
Su et al., "RoFormer", 2021 (arXiv 2104.09864).
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from solvers.trees.blocks import Start, put_block, take_block
from solvers.trees.platform import on_cpu

_SLOWEST = 10_000.0  # positions in which the slowest pair of features turns by about one radian

_AT_ONCE = 128  # positions of a sequence whose scores stay in a CPU's caches
_QUARTERED = 128  # positions of a memory of which it is worth to read less


class KeysValues(NamedTuple):
    """Keys and values of all positions of a sequence, zeros where there are none yet."""

    keys: Float[Array, "B G D T"]
    values: Float[Array, "B G T D"]

    @classmethod
    def empty(cls, batch_size: int, groups: int, length: int, head_size: int, dtype: jnp.dtype) -> KeysValues:
        """Those of no position, with room for ``length``."""
        return cls(
            jnp.zeros((batch_size, groups, head_size, length), dtype),
            jnp.zeros((batch_size, groups, length, head_size), dtype),
        )

    @classmethod
    def of(cls, keys: Float[Array, "S B G D"], values: Float[Array, "S B G D"]) -> KeysValues:
        """Those of a block, laid out as a cache."""
        return cls(keys.transpose(1, 2, 3, 0), values.transpose(1, 2, 0, 3))

    def first(self, end: int) -> KeysValues:
        """Those of the first positions."""
        return KeysValues(self.keys[..., :end], self.values[:, :, :end])

    def put(self, block: KeysValues, start: Start, keep: Start | None = None) -> KeysValues:
        """These with a block's in the places from ``start`` on, or with the first ``keep`` of the block's."""

        def row(old: Float[Array, "T *D"], new: Float[Array, "S *D"]) -> Float[Array, "T *D"]:
            if keep is not None:
                kept = jnp.arange(new.shape[0]) < keep
                new = jnp.where(kept.reshape(-1, *(1,) * (new.ndim - 1)), new, take_block(old, start, new.shape[0]))
            return put_block(old, new, start)

        by_sample_and_head = jax.vmap(jax.vmap(row))
        return KeysValues(
            jax.vmap(by_sample_and_head)(self.keys, block.keys), by_sample_and_head(self.values, block.values)
        )


def attend(
    queries: Float[Array, "S B H D"], memory: KeysValues, seen: Bool[Array, "S T"] | None
) -> Float[Array, "S B E"]:
    """sum_j softmax_j(q . k_j / sqrt(D)) v_j for each query and head, E = H D, over the positions that are ``seen``.

    A head reads the keys and values of its group: heads [g H / G, (g + 1) H / G) those of group g.
    """
    size, batch, heads, width = queries.shape
    groups = memory.keys.shape[1]
    each = heads // groups
    # Products in this order read keys and values as they lie; an einsum turns them round, and so copies them.
    asked = queries.reshape(size, batch, groups, each, width).transpose(1, 2, 3, 0, 4)
    scores = jnp.matmul(asked.reshape(batch, groups, each * size, width), memory.keys)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32)) / math.sqrt(width)
    if seen is not None:
        scores = jnp.where(jnp.tile(seen, (each, 1)), scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(memory.values.dtype)
    found = jnp.matmul(weights, memory.values).reshape(batch, groups, each, size, width)
    return found.transpose(3, 0, 1, 2, 4).reshape(size, batch, heads * width)


def attend_before(queries: Float[Array, "S B H D"], memory: KeysValues, start: Start) -> Float[Array, "S B E"]:
    """``attend`` of the positions from ``start`` on, each to those up to itself.

    On a CPU the positions that none of them sees are not read: a whole sequence goes part by part, whose scores stay
    in the caches, and a single position reads as many quarters of the memory as hold its prefix.
    """
    size, length = queries.shape[0], memory.values.shape[2]

    def upto(end: int, first: int, count: int, start: Start) -> Float[Array, "_ B E"]:
        seen = jnp.arange(end) <= (start + jnp.arange(first, first + count))[:, None]
        return attend(queries[first : first + count], memory.first(end), seen)

    if on_cpu() and isinstance(start, int) and size > _AT_ONCE:
        parts = [
            upto(min(length, start + first + _AT_ONCE), first, min(_AT_ONCE, size - first), start)
            for first in range(0, size, _AT_ONCE)
        ]
        return jnp.concatenate(parts)
    if on_cpu() and size == 1 and length >= _QUARTERED:
        ends = [-(-length * quarter // 4) for quarter in (1, 2, 3, 4)]
        place = jnp.searchsorted(jnp.asarray(ends), jnp.asarray(start), side="right")
        found: Float[Array, "1 B E"] = lax.switch(place, [partial(upto, end, 0, 1) for end in ends], start)
        return found
    return upto(length, 0, size, start)


def turned(x: Float[Array, "S B H D"], positions: Int[Array, " S"]) -> Float[Array, "S B H D"]:
    """Pairs of features (i, i + D/2) turned by position * 10000^(-2i/D), so that products tell distances alone."""
    half = x.shape[-1] // 2
    speeds = _SLOWEST ** (-jnp.arange(half) / half)
    angles = (positions[:, None] * speeds)[:, None, None, :]
    cos, sin = jnp.cos(angles), jnp.sin(angles)  # of hundreds of radians, which bfloat16 does not hold
    left, right = x[..., :half], x[..., half:]
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)
