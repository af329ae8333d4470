"""Anderson acceleration of Jacobi's fixed-point iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..equations import compare, isolated, next_frontier, prefix_mask, select
from ..solver import Solver, StepInfo
from ..system import TriangularSystem


class AndersonState(NamedTuple):
    """The last sweeps and their residuals, in ring buffers with a leading axis of length ``history_size``."""

    sweeps: Any
    residuals: Any
    taken: Int[Array, ""]


@dataclass(frozen=True)
class Anderson(Solver):
    """x <- sum_i a_i (F(x_i) - (1 - mixing) r_i), r_i = F(x_i) - x_i, over the last ``history_size`` iterates.

    The weights a (summing to one) minimize ||sum_i a_i r_i||^2 plus ``regularization`` times the mean squared residual
    times ||a||^2, for each sample by itself and over the equations that are not yet exact (Walker and Ni, "Anderson
    acceleration for fixed-point iterations", 2011). The exact prefix takes F(x) itself, so that T sweeps suffice as
    they do for Jacobi. Class ids and other integers take F(x) too.
    """

    requires: ClassVar[type] = TriangularSystem
    history_size: int = 5
    regularization: float = 1e-4
    mixing: float = 1.0
    tol: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history_size < 1:
            raise ValueError(f"history_size must be at least 1, not {self.history_size}")
        if self.regularization <= 0.0:
            raise ValueError(f"regularization must be positive, not {self.regularization}")
        if not 0.0 < self.mixing <= 1.0:
            raise ValueError(f"mixing must be in (0, 1], not {self.mixing}")

    def init(self, system: Any, x: Any) -> AndersonState:
        """A history that holds no sweep yet."""
        empty = jax.tree.map(lambda leaf: jnp.zeros((self.history_size, *leaf.shape), leaf.dtype), x)
        return AndersonState(empty, empty, jnp.int32(0))

    def step(
        self, system: Any, x: Any, state: AndersonState, frontier: Int[Array, " B"]
    ) -> tuple[Any, AndersonState, StepInfo]:
        """One sweep, and the best combination of the last ones."""
        num_equations = system.num_equations
        y = isolated(system.sweep, x, x)
        residual, matching = compare(y, x, num_equations)
        frontier = next_frontier(frontier, matching, num_equations)
        exact = prefix_mask(frontier, num_equations)
        slot = state.taken % self.history_size
        # Values that overflowed say nothing about the direction to go: they enter the history as "no change".
        tame = jax.tree.map(lambda a, b: jnp.where(jnp.isfinite(a), a, b), y, x)
        change = jax.tree.map(_difference, tame, x)
        sweeps = jax.tree.map(lambda buffer, a: buffer.at[slot].set(a), state.sweeps, tame)
        residuals = jax.tree.map(lambda buffer, r: buffer.at[slot].set(r), state.residuals, change)
        filled = jnp.arange(self.history_size) <= state.taken
        weights = self._weights(_gram(residuals, exact), filled)
        mixed = jax.tree.map(lambda s, r, fresh: self._combine(weights, s, r, fresh), sweeps, residuals, y)
        new = select(exact, y, mixed)
        following = AndersonState(sweeps, residuals, state.taken + 1)
        return new, following, StepInfo(residual, frontier, 1, 1.0)

    def _weights(self, gram: Float[Array, "B M M"], filled: Bool[Array, " M"]) -> Float[Array, "B M"]:
        size = self.history_size
        mean = jnp.trace(gram, axis1=1, axis2=2)[:, None, None] / jnp.sum(filled)
        tiny = jnp.finfo(gram.dtype).tiny
        normal = gram / (mean + tiny) + self.regularization * jnp.eye(size, dtype=gram.dtype)
        both = filled[:, None] & filled[None, :]
        normal = jnp.where(both, normal, jnp.eye(size, dtype=gram.dtype))
        ones = jnp.broadcast_to(filled.astype(gram.dtype)[:, None], (gram.shape[0], size, 1))
        raw = jnp.linalg.solve(normal, ones)[..., 0]
        return raw / jnp.sum(raw, axis=1, keepdims=True)

    def _combine(self, weights: Float[Array, "B M"], sweeps: Array, residuals: Array, fresh: Array) -> Array:
        if not jnp.issubdtype(fresh.dtype, jnp.inexact):
            return fresh
        candidates = sweeps - (1.0 - self.mixing) * residuals
        if sweeps.ndim == 2:
            return jnp.einsum("m,mt->t", weights[0], candidates).astype(sweeps.dtype)
        return jnp.einsum("bm,mtb...->tb...", weights, candidates).astype(sweeps.dtype)


def _difference(new: Array, old: Array) -> Array:
    """The residual of a leaf; integers and booleans are not mixed and have no say in the weights."""
    return new - old if jnp.issubdtype(new.dtype, jnp.inexact) else jnp.zeros_like(new)


def _gram(residuals: Any, exact: Bool[Array, "T B"]) -> Float[Array, "B M M"]:
    """Inner products of the residuals of each sample, over the equations beyond the frontier."""
    ahead = jax.vmap(lambda r: select(exact, jax.tree.map(jnp.zeros_like, r), r))(residuals)
    parts = [part for leaf in jax.tree.leaves(ahead) for part in _parts(leaf)]
    flat = [a.reshape(*a.shape[:2], exact.shape[1], -1).astype(jnp.result_type(float)) for a in parts]
    return jnp.sum(jnp.stack([jnp.einsum("mtbf,ntbf->bmn", a, a) for a in flat]), axis=0)


def _parts(leaf: Array) -> tuple[Array, ...]:
    """A leaf by itself, or the real and the imaginary part of a complex one, which weigh alike."""
    return (leaf.real, leaf.imag) if jnp.issubdtype(leaf.dtype, jnp.complexfloating) else (leaf,)
