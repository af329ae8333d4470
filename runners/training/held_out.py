"""What a model says of many images, in batches that fit: bits/dim, with the same noise every time, or logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt8


def held_out_bits_per_dim(
    model: Any, images: UInt8[Array, "N H W C"], key: Array, *, draws: int, batch_size: int
) -> Float[Array, ""]:
    """Mean of ``model.bits_per_dim`` over images and ``draws`` draws of its noise, a function of ``key``. Pure."""
    num_images = images.shape[0]
    rows = _batches(num_images, batch_size)
    num_batches = len(rows)
    batches = images[jnp.minimum(rows, num_images - 1)]

    def total(i: Int[Array, ""]) -> Float[Array, ""]:
        bits = model.bits_per_dim(batches[i % num_batches], jax.random.fold_in(key, i))
        return jnp.sum(jnp.where(rows[i % num_batches] < num_images, bits, 0.0))

    totals = lax.map(total, jnp.arange(draws * num_batches))
    return jnp.sum(totals) / (draws * num_images)


def held_out_logits(model: Any, images: UInt8[Array, "N H W C"], batch_size: int) -> Float[Array, "N K"]:
    """The logits of a classifier for every image. Pure."""
    rows = _batches(images.shape[0], batch_size)
    batches = images[jnp.minimum(rows, images.shape[0] - 1)]
    logits = lax.map(lambda batch: model(model.from_images(batch)), batches)
    return logits.reshape(-1, logits.shape[-1])[: images.shape[0]]


def bits_by_image(
    model: Any, images: UInt8[np.ndarray, "N H W C"], key: Array, *, draws: int, batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " b"], Float[np.ndarray, " b"]]]:
    """The bits/dim in pieces: numbers of images, and their ``model.bits_per_dim`` in one of the draws."""
    evaluate = jax.jit(lambda model, batch, key, i: model.bits_per_dim(batch, jax.random.fold_in(key, i)))
    return _in_pieces(lambda batch, i: evaluate(model, batch, key, i), images, draws=draws, batch_size=batch_size)


def logits_by_image(
    model: Any, images: UInt8[np.ndarray, "N H W C"], batch_size: int
) -> Iterator[tuple[Int[np.ndarray, " b"], Float[np.ndarray, "b K"]]]:
    """The logits in pieces: numbers of images, and a classifier's logits for them."""
    logits = jax.jit(lambda model, batch: model(model.from_images(batch)))
    return _in_pieces(lambda batch, i: logits(model, batch), images, draws=1, batch_size=batch_size)


def _in_pieces(
    evaluate: Callable[[UInt8[np.ndarray, "b H W C"], int], Array],
    images: UInt8[np.ndarray, "N H W C"],
    *,
    draws: int,
    batch_size: int,
) -> Iterator[tuple[Int[np.ndarray, " b"], Float[np.ndarray, "b ..."]]]:
    """Numbers of images, and what ``evaluate`` says of them; all batches have one size, and a number of their own."""
    num_images = len(images)
    rows = np.asarray(_batches(num_images, batch_size))
    for i in range(draws * len(rows)):
        batch = rows[i % len(rows)]
        values = evaluate(images[np.minimum(batch, num_images - 1)], i)
        count = int(np.sum(batch < num_images))
        yield batch[:count], np.asarray(values)[:count]


def _batches(num_images: int, batch_size: int) -> Int[Array, "batches size"]:
    """Numbers of the images of each batch. The last batch is filled up with numbers of images that do not exist."""
    batch_size = min(batch_size, num_images)
    num_batches = -(-num_images // batch_size)
    return jnp.arange(num_batches * batch_size).reshape(num_batches, batch_size)
