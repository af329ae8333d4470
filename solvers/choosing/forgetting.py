"""How soon a system of order one forgets where it began: how far two of its states are apart as it goes on."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..trees.precision import full_products
from .program import SLOWER, compiled

_PLACES = 64  # at the most, at which both states begin
_ROUND = 16  # transitions in a call
_LONGEST = 64  # transitions in all


def apart(system: Any, one: Any, other: Any, sweep_s: float, limit_s: float) -> tuple[float, ...]:
    """The largest distance of two states after each of some transitions, which both take with the same noise.

    They begin at several places as ``one`` and ``other`` are there, which are states of the whole system. In each
    transition the logarithm of a small distance changes by the largest Lyapunov exponent: below 0 it fades. Distances
    are relative to the values, of one at the least, and infinite between whole numbers that differ. There are none
    where the system is too short to tell, where the two do not differ, or where many transitions cannot be taken at
    once: this is a hint, which solving does not need.

    Args:
        system: of order one.
        one: a state.
        other: another.
        sweep_s: what all transitions take at once, in seconds.
        limit_s: about how long this may take, beside compiling.
    """
    total = int(system.num_equations)
    longest = min(_LONGEST, total // 2 // _ROUND * _ROUND)
    if longest == 0:
        return ()
    each_s = max(sweep_s / total, 1e-9) * 2 * longest * SLOWER
    num_places = max(1, min(_PLACES, total // 2, int(limit_s / each_s)))
    places = np.arange(num_places) * (total - 1 - longest) // num_places
    try:
        return tuple(_distances(system, one, other, places, longest, limit_s))
    except (TypeError, ValueError, MemoryError, RuntimeError):
        return ()


def _distances(
    system: Any, one: Any, other: Any, places: Int[np.ndarray, " N"], longest: int, limit_s: float
) -> list[float]:
    """The distances after each transition, of those places where the two differ."""
    pair = jax.tree.map(lambda a, b: jnp.stack([a[places], b[places]]), one, other)
    differ = np.asarray(_distance(pair, len(places))) > 0.0
    if not differ.any():
        return []
    pair, places = jax.tree.map(lambda leaf: leaf[:, differ], pair), places[differ]
    go_on = compiled(jax.jit(_go_on).lower(system, pair, jnp.asarray(places)), quick=True)
    found: list[float] = []
    begin = time.perf_counter()
    while len(found) < longest and (not found or (found[-1] > 0.0 and time.perf_counter() - begin < limit_s)):
        pair, far = go_on(system, pair, jnp.asarray(places + 1 + len(found)))
        found += np.max(np.asarray(far), axis=1).tolist()
    return found


@full_products
def _go_on(system: Any, pair: Any, first: Int[Array, " N"]) -> tuple[Any, Float[Array, "S N"]]:
    """Both states after a few transitions from ``first`` on, leaves (2, N, B, ...), and their distance after each."""

    def step(pair: Any, after: Int[Array, ""]) -> tuple[Any, Float[Array, " N"]]:
        pair = jax.vmap(jax.vmap(system.transition), in_axes=(0, None))(pair, first + after)
        return pair, _distance(pair, first.shape[0])

    return lax.scan(step, pair, jnp.arange(_ROUND, dtype=first.dtype))


def _distance(pair: Any, num_places: int) -> Float[Array, " N"]:
    """The farthest that two states are apart, at each place."""

    def farthest(leaf: Array) -> Float[Array, " N"]:
        one, other = leaf.reshape(2, num_places, -1)
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return jnp.max(jnp.where(one == other, 0.0, jnp.inf), axis=-1, initial=0.0)
        far = jnp.abs(one - other) / jnp.maximum(1.0, jnp.abs(one))
        return jnp.max(far.astype(jnp.float32), axis=-1, initial=0.0)

    return jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(farthest, pair))), axis=0)
