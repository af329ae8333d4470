"""Arithmetic of many small matrices at once, (..., D, D), for loops that are called often with little each.

Matrices are never mixed: what is not finite in one stays in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

UNROLLED_UP_TO = 8  # features; beyond, a library is as fast at products and faster at factorizing


class Matrices(ABC):
    """What scans need of a stack of matrices, any number of axes."""

    @abstractmethod
    def identity(self, scale: Float[Array, "*N"], features: int) -> Float[Array, "*N ..."]:
        """Identities, each times its scale."""

    @abstractmethod
    def plus_identity(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """Each plus the identity."""

    @abstractmethod
    def transpose(self, a: Float[Array, "*N D"]) -> Float[Array, "*N ..."]:
        """The transposed matrices."""

    @abstractmethod
    def product(self, a: Float[Array, "*N K"], b: Float[Array, "*M D"]) -> Float[Array, "*N D"]:
        """Matrix times matrix."""

    @abstractmethod
    def apply(self, a: Float[Array, "*N K"], v: Float[Array, "*M K"]) -> Float[Array, "..."]:
        """Matrix times vector."""

    @abstractmethod
    def cholesky(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The lower factor L of a = L L^T, for matrices no less than the identity: then no pivot is below one."""

    @abstractmethod
    def solve(self, lower: Float[Array, "*N D"], b: Float[Array, "*M E"]) -> Float[Array, "*M E"]:
        """The matrix x of lower x = b, for a lower-triangular matrix."""


class Diagonals(Matrices):
    """Diagonal matrices (..., D): all is elementwise."""

    def identity(self, scale: Float[Array, "*N"], features: int) -> Float[Array, "*N D"]:
        """The scale, D times."""
        return jnp.broadcast_to(scale[..., None], (*scale.shape, features))

    def plus_identity(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """One more."""
        return a + 1

    def transpose(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """Each is its own."""
        return a

    def product(self, a: Float[Array, "*N D"], b: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """Elementwise."""
        return a * b

    def apply(self, a: Float[Array, "*N D"], v: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """Elementwise."""
        return a * v

    def cholesky(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The square root; what rounding left below one is one."""
        return jnp.sqrt(jnp.maximum(a, 1.0))

    def solve(self, lower: Float[Array, "*N D"], b: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """Elementwise."""
        return b / lower


class Full(Matrices):
    """Matrices (..., D, D), by products and factorizations of a library, in full precision."""

    def identity(self, scale: Float[Array, "*N"], features: int) -> Float[Array, "*N D D"]:
        """Diagonal entries ``scale``."""
        return scale[..., None, None] * jnp.eye(features, dtype=scale.dtype)

    def plus_identity(self, a: Float[Array, "*N D D"]) -> Float[Array, "*N D D"]:
        """Diagonal entries one more."""
        return a + jnp.eye(a.shape[-1], dtype=a.dtype)

    def transpose(self, a: Float[Array, "*N D E"]) -> Float[Array, "*N E D"]:
        """Entries exchanged."""
        return jnp.swapaxes(a, -1, -2)

    def product(self, a: Float[Array, "*N D K"], b: Float[Array, "*N K E"]) -> Float[Array, "*N D E"]:
        """Products that accelerators would round by themselves."""
        return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)

    def apply(self, a: Float[Array, "*N D K"], v: Float[Array, "*N K"]) -> Float[Array, "*N D"]:
        """A product of one column."""
        return self.product(a, v[..., None])[..., 0]

    def cholesky(self, a: Float[Array, "*N D D"]) -> Float[Array, "*N D D"]:
        """Not a number where rounding made a pivot negative."""
        return lax.linalg.cholesky(a)

    def solve(self, lower: Float[Array, "*N D D"], b: Float[Array, "*N D E"]) -> Float[Array, "*N D E"]:
        """Forward substitution."""
        return lax.linalg.triangular_solve(lower, b, left_side=True, lower=True)


class SmallFull(Full):
    """Small matrices (..., D, D), unrolled over D: a library's call for each would take longer than its arithmetic."""

    def product(self, a: Float[Array, "*N D K"], b: Float[Array, "*N K E"]) -> Float[Array, "*N D E"]:
        """A sum of K outer products."""
        total = a[..., :, 0, None] * b[..., 0, None, :]
        for k in range(1, a.shape[-1]):
            total = total + a[..., :, k, None] * b[..., k, None, :]
        return total

    def apply(self, a: Float[Array, "*N D K"], v: Float[Array, "*N K"]) -> Float[Array, "*N D"]:
        """A sum of K columns."""
        total = a[..., 0] * v[..., 0, None]
        for k in range(1, a.shape[-1]):
            total = total + a[..., k] * v[..., k, None]
        return total

    def cholesky(self, a: Float[Array, "*N D D"]) -> Float[Array, "*N D D"]:
        """Column by column; a pivot that rounding left below one is one."""
        size, columns, remaining = a.shape[-1], [], a
        for k in range(size):
            pivot = jnp.sqrt(jnp.maximum(remaining[..., 0, :1], 1.0))
            below = remaining[..., 1:, 0] / pivot
            remaining = remaining[..., 1:, 1:] - below[..., :, None] * below[..., None, :]
            columns.append(jnp.concatenate([jnp.zeros((*a.shape[:-2], k), a.dtype), pivot, below], axis=-1))
        return jnp.stack(columns, axis=-1)

    def solve(self, lower: Float[Array, "*N D D"], b: Float[Array, "*N D E"]) -> Float[Array, "*N D E"]:
        """Forward substitution, row by row."""
        rows, remaining = [], b
        for k in range(b.shape[-2]):
            rows.append(remaining[..., 0, :] / lower[..., k, k, None])
            remaining = remaining[..., 1:, :] - lower[..., k + 1 :, k, None] * rows[-1][..., None, :]
        return jnp.stack(rows, axis=-2)


def matrices(a: Float[Array, "T B *F"]) -> Matrices:
    """The arithmetic for matrices (T, B, D, D), or for diagonals (T, B, D)."""
    if a.ndim == 3:
        return Diagonals()
    return SmallFull() if a.shape[-1] <= UNROLLED_UP_TO else Full()
