"""The largest Lyapunov exponent of an order-one system, which says whether solving it in parallel can pay.

Where deviations shrink on the way, x_t forgets x_0, and Newton-type solvers need a number of steps that hardly grows
with T; where they grow, each step carries the answer on by a stretch that does not grow with T either (Gonzalez et al.,
"Predictability enables parallelization of nonlinear state space models", arXiv 2508.16817).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .equations import batch_size
from .linear.linearize import push, ravel
from .systems.recurrence import shifted
from .trees.precision import full_products


@full_products
def largest_lyapunov_exponent(system: Any, x: Any, burn_in: int = 0) -> Float[Array, " B"]:
    """The rate at which a small deviation grows along the solution ``x`` of a MarkovSystem, in nats per step.

    With v_0 a random unit vector and J_t the Jacobian of equation t at the solution,

        w_t = J_t v_t,    v_{t+1} = w_t / |w_t|,    exponent = mean of log |w_t| over t = burn_in .. T-1

    (Benettin et al., "Lyapunov characteristic exponents for smooth dynamical systems", Meccanica 15, 1980). The first
    ``burn_in`` steps turn v towards the direction that grows fastest and are left out of the mean. One number for each
    sample, -inf where a deviation dies out altogether, NaN where no step is left or the solution is not finite. It
    takes a sequential pass of T steps.

    Raises ValueError where ``burn_in`` is negative.
    """
    if burn_in < 0:
        raise ValueError(f"burn_in must be 0 or more, not {burn_in}")
    if burn_in >= system.num_equations:
        return jnp.full(batch_size(x), jnp.nan)
    previous = shifted(system.initial_state, x)
    flat = ravel(previous)
    # One direction for all samples, so that a sample's exponent does not depend on the others.
    direction = jax.random.normal(jax.random.key(0), flat.shape[2:], flat.dtype)
    first = jnp.broadcast_to(direction / jnp.linalg.norm(direction), flat.shape[1:])

    def body(v: Float[Array, "B D"], equation: tuple[Int[Array, ""], Any]) -> tuple[Array, Float[Array, " B"]]:
        t, before = equation
        row = jax.tree.map(lambda a: a[None], before)
        pushed = push(system, row, t, v[None])[0]
        growth = jnp.linalg.norm(pushed, axis=-1)
        alive = (growth > 0)[:, None]
        return jnp.where(alive, pushed / jnp.where(alive, growth[:, None], 1), v), jnp.log(growth)

    _, growths = lax.scan(body, first, (jnp.arange(system.num_equations), previous))
    return jnp.mean(growths[burn_in:], axis=0)


def pays(exponent: float) -> bool:
    """Whether deviations shrink, so that Newton-type solvers can do with few steps. False for NaN.

    Shrinking in the long run is needed and not sufficient: where steps are far from linear, or the exponent is near 0,
    many are taken all the same.
    """
    return exponent < 0


def advice(exponent: float, num_equations: int | None = None) -> str:
    """A sentence about what the exponent means for the choice of a solver.

    Where the number of equations T is given, an exponent of at most 1 / T is told apart: over all of them a deviation
    grows or fades by a factor of e at most, and whether parallel solving pays hangs on how far from linear they are.
    """
    if math.isnan(exponent):
        return "no largest Lyapunov exponent: no finite step to estimate it from"
    told = f"largest Lyapunov exponent {exponent:+.2f} per step"
    if num_equations is not None and abs(exponent) * num_equations <= 1:
        return (
            f"marginal: {told}: over all equations a deviation grows or fades by a factor e at most; parallel solvers "
            "can do with few steps where equations are nearly linear"
        )
    if pays(exponent):
        fades = f"a deviation fades by a factor e in {-1 / exponent:.2g} steps"
        return f"stable: {told}: {fades}; where T is much longer, parallel solvers can do with few"
    kind = "chaotic" if exponent > 0 else "marginal"
    return f"{kind}: {told}; parallel solving does not pay, use cached_sequential"
