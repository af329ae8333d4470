"""Arithmetic of many small matrices at once, (..., D, D), for loops that are called often with little each.

Matrices are never mixed: what is not finite in one stays in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..trees.platform import on_cpu

UNROLLED_UP_TO = 8  # features; beyond, a library is as fast at products and faster at factorizing
# Features; beyond, an accelerator's compiler takes a minute and more. What a library factorizes is then not a number
# where rounding made a pivot negative, as it is on a CPU beyond the other bound.
UNROLLED_ON_ACCELERATORS = 4


class Matrices(ABC):
    """The operations that scans need of a stack of matrices, with any number of leading axes."""

    @abstractmethod
    def identity(self, scale: Float[Array, "*N"], features: int) -> Float[Array, "*N ..."]:
        """Identity matrices, each times its scale."""

    @abstractmethod
    def plus_identity(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The matrices a + I."""

    @abstractmethod
    def transpose(self, a: Float[Array, "*N D"]) -> Float[Array, "*N ..."]:
        """The matrices transposed, that is with rows for columns."""

    @abstractmethod
    def product(self, a: Float[Array, "*N K"], b: Float[Array, "*M D"]) -> Float[Array, "*N D"]:
        """The products of two matrices, a b."""

    @abstractmethod
    def apply(self, a: Float[Array, "*N K"], v: Float[Array, "*M K"]) -> Float[Array, "..."]:
        """The products of a matrix and a vector, a v."""

    @abstractmethod
    def cholesky(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The lower factors L of a = L L^T, for matrices no less than the identity, so that no pivot is below one."""

    @abstractmethod
    def solve(self, lower: Float[Array, "*N D"], b: Float[Array, "*M E"]) -> Float[Array, "*M E"]:
        """The matrices x of lower x = b, for lower-triangular matrices."""


class Diagonals(Matrices):
    """Diagonal matrices (..., D), on which every operation is elementwise."""

    def identity(self, scale: Float[Array, "*N"], features: int) -> Float[Array, "*N D"]:
        """Diagonals of D entries that all are the scale."""
        return jnp.broadcast_to(scale[..., None], (*scale.shape, features))

    def plus_identity(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The diagonals with one added to each entry."""
        return a + 1

    def transpose(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The diagonals as they are: diagonal matrices are symmetric."""
        return a

    def product(self, a: Float[Array, "*N D"], b: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The entrywise products of two diagonals."""
        return a * b

    def apply(self, a: Float[Array, "*N D"], v: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The entrywise products of a diagonal and a vector."""
        return a * v

    def cholesky(self, a: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The entrywise square roots; entries that rounding left below one count as one."""
        return jnp.sqrt(jnp.maximum(a, 1.0))

    def solve(self, lower: Float[Array, "*N D"], b: Float[Array, "*N D"]) -> Float[Array, "*N D"]:
        """The entrywise quotients of two diagonals."""
        return b / lower


class Full(Matrices):
    """Matrices (..., D, D), by products and factorizations of a library, in full precision."""

    def identity(self, scale: Float[Array, "*N"], features: int) -> Float[Array, "*N D D"]:
        """Matrices with the scale on the diagonal."""
        return scale[..., None, None] * jnp.eye(features, dtype=scale.dtype)

    def plus_identity(self, a: Float[Array, "*N D D"]) -> Float[Array, "*N D D"]:
        """The matrices with one added to each entry of the diagonal."""
        return a + jnp.eye(a.shape[-1], dtype=a.dtype)

    def transpose(self, a: Float[Array, "*N D E"]) -> Float[Array, "*N E D"]:
        """The matrices with their last two axes exchanged."""
        return jnp.swapaxes(a, -1, -2)

    def product(self, a: Float[Array, "*N D K"], b: Float[Array, "*N K E"]) -> Float[Array, "*N D E"]:
        """Products in full precision, where accelerators would round by default."""
        return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)

    def apply(self, a: Float[Array, "*N D K"], v: Float[Array, "*N K"]) -> Float[Array, "*N D"]:
        """Products with vectors, each as a matrix of one column."""
        return self.product(a, v[..., None])[..., 0]

    def cholesky(self, a: Float[Array, "*N D D"]) -> Float[Array, "*N D D"]:
        """The library's factorization, which is not a number where rounding made a pivot negative."""
        return lax.linalg.cholesky(a)

    def solve(self, lower: Float[Array, "*N D D"], b: Float[Array, "*N D E"]) -> Float[Array, "*N D E"]:
        """The library's forward substitution."""
        return lax.linalg.triangular_solve(lower, b, left_side=True, lower=True)


class SmallFull(Full):
    """Small matrices (..., D, D), unrolled over D: a library's call for each would take longer than its arithmetic."""

    def product(self, a: Float[Array, "*N D K"], b: Float[Array, "*N K E"]) -> Float[Array, "*N D E"]:
        """Products as sums of K outer products."""
        total = a[..., :, 0, None] * b[..., 0, None, :]
        for k in range(1, a.shape[-1]):
            total = total + a[..., :, k, None] * b[..., k, None, :]
        return total

    def apply(self, a: Float[Array, "*N D K"], v: Float[Array, "*N K"]) -> Float[Array, "*N D"]:
        """Products with vectors as sums of K scaled columns."""
        total = a[..., 0] * v[..., 0, None]
        for k in range(1, a.shape[-1]):
            total = total + a[..., k] * v[..., k, None]
        return total

    def cholesky(self, a: Float[Array, "*N D D"]) -> Float[Array, "*N D D"]:
        """The factorization column by column; a pivot that rounding left below one counts as one."""
        size, columns, remaining = a.shape[-1], [], a
        for k in range(size):
            pivot = jnp.sqrt(jnp.maximum(remaining[..., 0, :1], 1.0))
            below = remaining[..., 1:, 0] / pivot
            remaining = remaining[..., 1:, 1:] - below[..., :, None] * below[..., None, :]
            columns.append(jnp.concatenate([jnp.zeros((*a.shape[:-2], k), a.dtype), pivot, below], axis=-1))
        return jnp.stack(columns, axis=-1)

    def solve(self, lower: Float[Array, "*N D D"], b: Float[Array, "*N D E"]) -> Float[Array, "*N D E"]:
        """Forward substitution, unrolled row by row."""
        rows, remaining = [], b
        for k in range(b.shape[-2]):
            rows.append(remaining[..., 0, :] / lower[..., k, k, None])
            remaining = remaining[..., 1:, :] - lower[..., k + 1 :, k, None] * rows[-1][..., None, :]
        return jnp.stack(rows, axis=-2)


def matrices(a: Float[Array, "T B *F"]) -> Matrices:
    """The arithmetic for matrices (T, B, D, D), or for diagonals (T, B, D)."""
    if a.ndim == 3:
        return Diagonals()
    return SmallFull() if a.shape[-1] <= (UNROLLED_UP_TO if on_cpu() else UNROLLED_ON_ACCELERATORS) else Full()
