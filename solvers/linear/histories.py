"""Histories of iterates: rows of a leading axis, the newest first; their inner products, and mixtures of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ..equations import by_equation, is_segmented


def push(rows: Array, newest: Array) -> Array:
    """The rows of a history with one more in front, and without the last."""
    return jnp.concatenate([newest[None], rows[:-1]])


def difference(new: Array, old: Array) -> Array:
    """The change of a leaf; integers and booleans are not mixed and have no say in the weights."""
    return new - old if jnp.issubdtype(new.dtype, jnp.inexact) else jnp.zeros_like(new)


def gram_before(changes: Any, num_equations: int) -> Float[Array, "T B M M"]:
    """Inner products of the changes of each sample over the equations before each."""
    size = len(jax.tree.leaves(changes)[0])
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i], changes) for i in range(size)]

    def product(i: int, j: int) -> Float[Array, "T B"]:
        return by_equation(_product, jnp.add, num_equations, rows[max(i, j)], rows[min(i, j)])

    own = jnp.stack([jnp.stack([product(i, j) for j in range(size)], axis=-1) for i in range(size)], axis=-2)
    return jnp.cumsum(own, axis=0) - own


def _product(a: Shaped[Array, "T B F"], b: Shaped[Array, "T B F"]) -> Float[Array, "T B"]:
    return jnp.sum((a * jnp.conj(b)).real.astype(jnp.result_type(float)), axis=-1)


def mixed(weights: Float[Array, "T B N"], results: Any, fresh: Any, num_equations: int) -> Any:
    """``fresh`` and earlier results, by the weights of their equations; segments have a part of them each."""
    leaves, treedef = jax.tree.flatten(fresh)
    earlier = [rows[1:] for rows in jax.tree.leaves(results)]
    ends = np.cumsum([len(leaf) for leaf in leaves])[:-1]
    parts = jnp.split(weights, ends) if is_segmented(fresh, num_equations) else [weights] * len(leaves)
    return jax.tree.unflatten(treedef, [_combine(*row) for row in zip(parts, earlier, leaves, strict=True)])


def _combine(weights: Float[Array, "S B N"], earlier: Array, fresh: Array) -> Array:
    if not jnp.issubdtype(fresh.dtype, jnp.inexact):
        return fresh
    by_sample = jnp.moveaxis(weights, -1, 0).reshape(len(earlier), *fresh.shape[:2], *(1,) * (fresh.ndim - 2))
    total = jnp.sum(by_sample * (fresh - earlier), axis=0)
    return (fresh - total).astype(fresh.dtype)
