"""What the trunk reads and what is read off it: classes or vectors, before and behind the layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.transformer.layer import wide
from solvers.heads.logistic import LocationScale
from solvers.trees.blocks import Start
from solvers.trees.pytree import pytree


def placed(h: Float[Array, "S B C"], table: Float[Array, "T C"] | None, start: Start) -> Float[Array, "S B C"]:
    """Features with the vectors of their positions added, where positions are told so."""
    if table is None:
        return h
    positions = start + jnp.arange(h.shape[0])
    return h + jnp.take(table, positions, axis=0, mode="clip")[:, None].astype(h.dtype)


@pytree
@dataclass(frozen=True)
class ClassEmbedding:
    """A vector for each class, of which one more stands for the beginning."""

    table: Float[Array, "K C"]  # the last row is that of the beginning
    positions: Float[Array, "T C"] | None

    def __call__(self, values: Int[Array, "S B"], start: Start) -> Float[Array, "S B C"]:
        """The vectors of class ids."""
        return placed(self.table[values], self.positions, start)

    def empty(self, batch_size: int, dtype: Any) -> Int[Array, "1 B"]:
        """The beginning."""
        return jnp.full((1, batch_size), self.table.shape[0] - 1, dtype)


@pytree
@dataclass(frozen=True)
class VectorEmbedding:
    """A product with the value before, and a vector of its own where there is none."""

    kernel: Float[Array, "P C"]
    first: Float[Array, " C"]
    positions: Float[Array, "T C"] | None

    def __call__(self, values: Float[Array, "S B P"], start: Start) -> Float[Array, "S B C"]:
        """The features of vectors."""
        begins = (start + jnp.arange(values.shape[0]) == 0)[:, None, None]
        h = jnp.where(begins, self.first, values.astype(self.kernel.dtype) @ self.kernel)
        return placed(h, self.positions, start)

    def empty(self, batch_size: int, dtype: Any) -> Float[Array, "1 B P"]:
        """Zeros, which are not read."""
        return jnp.zeros((1, batch_size, self.kernel.shape[0]), dtype)


@pytree
@dataclass(frozen=True)
class Logits:
    """The logits of classes."""

    kernel: Float[Array, "C K"]

    def __call__(self, h: Float[Array, "S B C"]) -> Float[Array, "S B K"]:
        """One of each class, in float32."""
        return wide(h @ self.kernel)


@pytree
@dataclass(frozen=True)
class LocationScales:
    """The mean and the scale of each number of a vector; no scale is further from 1 than e^bound."""

    kernel: Float[Array, "C _"]
    bias: Float[Array, " _"]
    bound: float = field(metadata={"static": True})

    def __call__(self, h: Float[Array, "S B C"]) -> LocationScale:
        """Means, and log-scales, which a tanh keeps within the bound."""
        both = wide(h) @ self.kernel + self.bias
        mean, log_scale = jnp.split(both, 2, axis=-1)
        return LocationScale(mean, self.bound * jnp.tanh(log_scale / self.bound))
