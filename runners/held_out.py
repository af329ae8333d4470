"""Held-out bits/dim: the same noise every time, in batches that fit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, UInt8


def held_out_bits_per_dim(
    model: Any, images: UInt8[Array, "N H W C"], key: Array, *, draws: int, batch_size: int
) -> Float[Array, ""]:
    """Mean of ``model.bits_per_dim`` over images and ``draws`` draws of its noise, a function of ``key``."""
    num_images = images.shape[0]
    batch_size = min(batch_size, num_images)
    num_batches = -(-num_images // batch_size)
    # The last batch is filled up with images that do not count.
    rows = jnp.arange(num_batches * batch_size).reshape(num_batches, batch_size)
    batches = images[jnp.minimum(rows, num_images - 1)]

    def total(i: Int[Array, ""]) -> Float[Array, ""]:
        bits = model.bits_per_dim(batches[i % num_batches], jax.random.fold_in(key, i))
        return jnp.sum(jnp.where(rows[i % num_batches] < num_images, bits, 0.0))

    totals = lax.map(total, jnp.arange(draws * num_batches))
    return jnp.sum(totals) / (draws * num_images)
