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

_PLACES = 64  # at the most, at which both states begin
_ROUND = 16  # transitions in a call
_LONGEST = 64  # transitions in all


def apart(system: Any, one: Any, other: Any, sweep_s: float, limit_s: float) -> tuple[float, ...]:
    """The largest distance of two states after each of some transitions, which both take with the same noise.

    They begin at several places as ``one`` and ``other`` are there, which are states of the whole system. The logarithm
    of distances that fade falls by the largest Lyapunov exponent in each transition. Distances are relative to the
    values, of one at the least. There are none where the system is too short to tell.

    Args:
        system: of order one.
        one: a state.
        other: another.
        sweep_s: what all transitions take at once, in seconds.
        limit_s: about how long this may take.
    """
    total = int(system.num_equations)
    room = total - 1 - _ROUND
    if room < 1:
        return ()
    each_s = max(sweep_s / total, 1e-9) * _LONGEST
    num_places = max(1, min(_PLACES, room, int(limit_s / each_s)))
    places = np.arange(num_places) * room // num_places
    pair = jax.tree.map(lambda a, b: jnp.stack([a[places], b[places]]), one, other)
    distances: list[float] = []
    begin = time.perf_counter()
    # The first call, which is compiled, does not count as time: it has to be paid in any case.
    for done in range(0, min(_LONGEST, room), _ROUND):
        inside = places + done + _ROUND < total
        pair, far = _go_on(system, pair, jnp.asarray(places + 1 + done))
        distances += np.max(np.where(inside, np.asarray(far), 0.0), axis=1, initial=0.0).tolist()
        begin = time.perf_counter() if done == 0 else begin
        if distances[-1] == 0.0 or time.perf_counter() - begin > limit_s:
            break
    return tuple(distances)


@jax.jit
@full_products
def _go_on(system: Any, pair: Any, first: Int[Array, " N"]) -> tuple[Any, Float[Array, "S N"]]:
    """Both states after a few transitions from ``first`` on, leaves (2, N, B, ...), and their distance after each."""

    def step(pair: Any, after: Int[Array, ""]) -> tuple[Any, Float[Array, " N"]]:
        t = jnp.minimum(first + after, system.num_equations - 1)
        pair = jax.vmap(jax.vmap(system.transition), in_axes=(0, None))(pair, t)
        return pair, _distance(pair, first.shape[0])

    return lax.scan(step, pair, jnp.arange(_ROUND, dtype=jnp.int32))


def _distance(pair: Any, num_places: int) -> Float[Array, " N"]:
    def farthest(leaf: Array) -> Float[Array, " N"]:
        one, other = leaf.reshape(2, num_places, -1)
        return jnp.max(jnp.abs(one - other) / jnp.maximum(1.0, jnp.abs(one)), axis=-1, initial=0.0)

    return jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(farthest, pair))), axis=0)
