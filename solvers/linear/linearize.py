"""Derivatives of order-one systems: their transitions by rows, full Jacobians, diagonals, exact or estimated."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from common.blocks import Start
from solvers.system import LinearizedMarkovSystem, VectorizedMarkovSystem


def ravel(x: Any) -> Float[Array, "S B D"]:
    """The floating-point leaves of a state as one array of D features, in the order of the leaves.

    Class ids and other integers have no derivative and are left out.
    """
    leaves = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    rows = [leaf.reshape(leaf.shape[0], _batch(leaf), math.prod(leaf.shape[2:])) for leaf in leaves]
    if not rows:
        raise ValueError("the state has no floating-point values, so the system has no derivatives; use jacobi")
    return rows[0] if len(rows) == 1 else jnp.concatenate(rows, axis=-1)


def unravel(flat: Float[Array, "S B D"], like: Any) -> Any:
    """The inverse of ``ravel``: ``like`` with its floating-point leaves taken from ``flat``."""
    leaves, treedef = jax.tree.flatten(like)
    offset, filled = 0, []
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            width = math.prod(leaf.shape[2:])
            filled.append(flat[..., offset : offset + width].reshape(leaf.shape).astype(leaf.dtype))
            offset += width
        else:
            filled.append(leaf)
    return jax.tree.unflatten(treedef, filled)


def transitions(system: Any, previous: Any, start: Start) -> Any:
    """Equations start, start + 1, ... of any MarkovSystem, each from its row of ``previous``, leaves (S, B, ...)."""
    if isinstance(system, VectorizedMarkovSystem):
        return system.transitions(previous, start)
    size = jax.tree.leaves(previous)[0].shape[0]
    return jax.vmap(system.transition)(previous, start + jnp.arange(size))


def jacobians(system: Any, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D D"]]:
    """The transitions and their Jacobians, [.., i, j] = d f_i / d x_j, by D forward derivatives unless it has them."""
    if isinstance(system, LinearizedMarkovSystem):
        return system.jacobians(previous, start)
    flat = ravel(previous)

    def column(direction: Float[Array, " D"]) -> Float[Array, "S B D"]:
        return push(system, previous, start, jnp.broadcast_to(direction, flat.shape))

    columns = jax.vmap(column, out_axes=-1)(jnp.eye(flat.shape[-1], dtype=flat.dtype))
    return transitions(system, previous, start), columns


def diagonals(system: Any, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D"]]:
    """The transitions and the diagonals of their Jacobians, by D forward derivatives in turn unless it has them."""
    if isinstance(system, LinearizedMarkovSystem):
        return system.jacobian_diagonals(previous, start)
    flat = ravel(previous)

    def entry(i: Int[Array, ""]) -> Float[Array, "S B"]:
        direction = jnp.broadcast_to((jnp.arange(flat.shape[-1]) == i).astype(flat.dtype), flat.shape)
        return jnp.take(push(system, previous, start, direction), i, axis=-1)

    entries = lax.map(entry, jnp.arange(flat.shape[-1]))
    return transitions(system, previous, start), jnp.moveaxis(entries, 0, -1)


def estimated_diagonals(
    system: Any, previous: Any, start: Start, probes: int, draw: Int[Array, ""]
) -> tuple[Any, Float[Array, "S B D"]]:
    """The transitions, and the diagonals of their Jacobians estimated from ``probes`` random directions v.

    The estimate is the mean of v * (J v), v of +1 and -1, so that entries off the diagonal cancel on average (Bekas,
    Kokiopoulou and Saad, 2007). The directions are those of draw number ``draw``, the same for all samples.
    """
    flat = ravel(previous)
    shape = (flat.shape[0], 1, flat.shape[2])
    key = jax.random.fold_in(jax.random.key(0), draw)

    def add(i: Int[Array, ""], total: Float[Array, "S B D"]) -> Float[Array, "S B D"]:
        direction = jax.random.rademacher(jax.random.fold_in(key, i), shape, flat.dtype)
        return total + direction * push(system, previous, start, jnp.broadcast_to(direction, flat.shape))

    total = lax.fori_loop(0, probes, add, jnp.zeros_like(flat))
    return transitions(system, previous, start), total / probes


def push(system: Any, previous: Any, start: Start, direction: Float[Array, "S B D"]) -> Float[Array, "S B D"]:
    """The derivative of every transition along ``direction``: J_t v_t."""
    tangent: Float[Array, "S B D"] = jax.jvp(
        lambda flat: ravel(transitions(system, unravel(flat, previous), start)), (ravel(previous),), (direction,)
    )[1]
    return tangent


def jacobian_sweeps(system: Any) -> int:
    """The cost of Jacobians beside the transitions, in sweeps: 1 where the system has them, else D derivatives."""
    if isinstance(system, LinearizedMarkovSystem):
        return 1
    leaves = [leaf for leaf in jax.tree.leaves(system.initial_state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum(math.prod(leaf.shape[1:]) for leaf in leaves)


def _batch(leaf: Array) -> int:
    return int(leaf.shape[1]) if leaf.ndim > 1 else 1
