"""Take and put blocks of a pytree along its leaves' leading axis."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

X = TypeVar("X")
Start: TypeAlias = int | Int[Array, ""]


def take_block(x: X, start: Start, size: int) -> X:
    """Rows [start, start + size) of every leaf; past the end the last row is repeated.

    ``start`` is a multiple of ``size``, or the block lies within the leaf.
    """

    def take(leaf: Array) -> Array:
        if leaf.shape[0] % size == 0:  # then no block passes the end, and a slice is cheaper than a gather
            return lax.dynamic_slice_in_dim(leaf, start, size)
        return jnp.take(leaf, start + jnp.arange(size), axis=0, mode="clip")

    result: X = jax.tree.map(take, x)
    return result


def put_block(x: X, block: X, start: Start) -> X:
    """``x`` with ``block`` written from row ``start``; what passes the end is dropped. ``start`` as in take_block."""

    def put(leaf: Array, values: Array) -> Array:
        size = values.shape[0]
        if leaf.shape[0] % size == 0:
            return lax.dynamic_update_slice_in_dim(leaf, values.astype(leaf.dtype), start, 0)
        return leaf.at[start + jnp.arange(size)].set(values.astype(leaf.dtype), mode="drop")

    result: X = jax.tree.map(put, x, block)
    return result
