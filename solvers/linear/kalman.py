"""ELK's Kalman filter: the means that damp its steps, by prefix scans or one equation after the other."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..trees.platform import on_cpu
from .matrices import matrices
from .prefix_scan import affine_scan, covariance_scan


def filter_means(
    j: Float[Array, "T B D D"] | Float[Array, "T B D"],
    gap: Float[Array, "T B D"],
    weight: Float[Array, " B"],
    known: Bool[Array, "T B"],
) -> Float[Array, "T B D"]:
    """All d_t = (I + w P_t)^-1 (gap_t + J_t d_{t-1}), d_{-1} = 0; but d_t = gap_t where equation t is ``known``.

    P_t are the predicted covariances, as of ``covariance_scan``; J is full, or diagonal and then without its last axis.
    Scans do about five times the arithmetic of the recurrence, so a CPU follows that.
    """
    if gap.size == 0:
        return gap
    return (_in_turn if on_cpu() else _by_scans)(j, gap, weight, known)


def _by_scans(j: Array, gap: Float[Array, "T B D"], weight: Float[Array, " B"], known: Bool[Array, "T B"]) -> Array:
    """By two prefix scans, one for the covariances and one for the means.

    I + w P = L L^T gives (I + w P)^-1 = L^-T L^-1.
    """
    algebra = matrices(j)

    def lanes(rows: Array) -> Array:  # equations and samples alike
        return rows.reshape(rows.shape[0] * rows.shape[1], *rows.shape[2:])

    predicted = covariance_scan(j, weight, known)
    weighted = lanes(predicted * weight.reshape((1, -1) + (1,) * (predicted.ndim - 2)))
    identity = algebra.identity(jnp.ones_like(lanes(gap)[:, 0]), gap.shape[2])
    inverse = algebra.solve(algebra.cholesky(identity + weighted), identity)
    back = algebra.transpose(inverse)
    damped = algebra.product(back, algebra.product(inverse, lanes(j))).reshape(j.shape)
    damped = jnp.where(known.reshape(known.shape + (1,) * (j.ndim - 2)), 0.0, damped)
    moved = algebra.apply(back, algebra.apply(inverse, lanes(gap))).reshape(gap.shape)
    return affine_scan(damped, jnp.where(known[..., None], gap, moved), jnp.zeros_like(gap[0]))


def _in_turn(j: Array, gap: Float[Array, "T B D"], weight: Float[Array, " B"], known: Bool[Array, "T B"]) -> Array:
    """One equation after the other, with the samples as the last axis, over which all arithmetic is elementwise."""
    num_equations, batch, features = gap.shape
    weight = weight.astype(gap.dtype)
    if j.ndim == 3:  # numbers, which nothing mixes: each is a sample of its own
        lanes = batch * features
        j, gap = j.reshape(num_equations, lanes, 1, 1), gap.reshape(num_equations, lanes, 1)
        weight, known = jnp.repeat(weight, features), jnp.repeat(known, features, axis=1)
    before = jnp.concatenate([jnp.ones_like(known[:1]), known[:-1]])
    mean = (jnp.arange(j.shape[-1] + 1) == j.shape[-1])[:, None]  # the last column of a state; the others are P

    def step(state: Array, row: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        j, gap, known, before = row
        state = observed(predicted(state, j, gap, before), weight)
        state = jnp.where(known & mean, gap[:, None], state)
        return state, state[:, -1]

    blank = jnp.zeros((j.shape[-1], j.shape[-1] + 1, j.shape[1]), gap.dtype)
    rows = (jnp.moveaxis(j, 1, -1), jnp.moveaxis(gap, 1, -1), known, before)
    means = jnp.moveaxis(lax.scan(step, blank, rows)[1], -1, 1)
    return means.reshape(num_equations, batch, features)


def predicted(
    state: Float[Array, "D E L"], j: Float[Array, "D D L"], gap: Float[Array, "D L"], certain: Bool[Array, " L"]
) -> Float[Array, "D E L"]:
    """Covariance and mean, side by side, before the observation: J P J^T + I, or I after a state that is certain."""
    features = j.shape[0]
    moved = _product(j, state)
    spread = jnp.where(certain, 0.0, _product(moved[:, :features], jnp.swapaxes(j, 0, 1)))
    covariance = spread + jnp.eye(features, dtype=j.dtype)[..., None]
    return jnp.concatenate([covariance, moved[:, features:] + gap[:, None]], axis=1)


def observed(state: Float[Array, "D E L"], weight: Float[Array, " L"]) -> Float[Array, "D E L"]:
    """Covariance and mean after the observation 0, with covariance I / w: one feature after the other.

    Each is an update of rank one, so no matrix is factorized. No variance that is still to be observed is below one, as
    what is predicted is no less than I; those that rounding left below count as one. In a loop, so that each update is
    computed once and not again by everything that reads it.
    """

    def update(k: Int[Array, ""], state: Float[Array, "D E L"]) -> Float[Array, "D E L"]:
        pivot = 1.0 + weight * jnp.maximum(state[k, k], 1.0)
        own = (jnp.arange(state.shape[0]) == k)[:, None] | (jnp.arange(state.shape[1]) == k)
        others = state - (weight * state[:, k])[:, None] * (state[k] / pivot)
        return jnp.where(own[..., None], state / pivot, others)

    updated: Array = lax.fori_loop(0, state.shape[0], update, state)
    return updated


def _product(a: Float[Array, "D K L"], b: Float[Array, "K E L"]) -> Float[Array, "D E L"]:
    """Products of matrices with lanes behind them, as sums of K outer products."""
    total = a[:, 0, None] * b[None, 0]
    for k in range(1, a.shape[1]):
        total = total + a[:, k, None] * b[None, k]
    return total
