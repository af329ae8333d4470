"""Checks that a model keeps the contract of its capability, and the equations of its samples, which can be checked too.

To be run first on a model of one's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.capabilities import EquationModel, ImageModel, SoundModel, TextModel, require
from solvers.systems.autoregressive import AutoregressiveSystem

BATCH = 2  # samples in what is checked: enough to see whether one reads another
_LENGTH = 64  # samples of sound, of which there may be any number


class BrokenModelError(ValueError):
    """A model breaks the contract of its capability; the message says where."""


def equations_of(model: Any, seed: int) -> Any:
    """The equations of a small batch of a model's samples. Raises CapabilityError where it is not sampled from."""
    key = jax.random.key(seed)
    if isinstance(model, EquationModel):
        return model.equations(key, BATCH)
    if isinstance(model, SoundModel):
        return AutoregressiveSystem(model.fold(_LENGTH), model.head, model.draw_noise(key, _LENGTH, BATCH))
    if isinstance(model, TextModel):
        return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(key, model.context, BATCH))
    images = require(model, ImageModel)
    return AutoregressiveSystem(images.fold(), images.head, images.draw_noise(key, BATCH))


def check_image_model(model: ImageModel, seed: int = 0, say: Callable[[str], None] = print) -> None:
    """Hold the members of a model of images against each other: the shapes of noise, samples and pixels, and bits/dim.

    ``say`` is told what is being done. Raises BrokenModelError where one does not fit the others.
    """
    say("trying whether noise, samples, pixels and bits/dim fit each other ...")
    key, num_equations = jax.random.key(seed), math.prod(model.grid)
    if model.fold().num_equations != num_equations:
        raise BrokenModelError(f"grid {model.grid} has {num_equations} places, fold() {model.fold().num_equations}")
    for name, noise in model.draw_noise(key, BATCH).items():
        if noise.shape[:2] != (num_equations, BATCH):
            raise BrokenModelError(f"draw_noise: {name} should be ({num_equations}, {BATCH}, ...), not {noise.shape}")
    pixels = np.random.default_rng(seed).integers(0, 256, (BATCH, *model.image_shape), np.uint8)
    values = model.from_images(jnp.asarray(pixels))
    if values.shape[:2] != (num_equations, BATCH):
        raise BrokenModelError(f"from_images should give ({num_equations}, {BATCH}, ...), not {values.shape}")
    again = model.to_images(jnp.moveaxis(values, 1, 0).reshape(BATCH, *model.grid, *values.shape[2:]))
    if again.dtype != jnp.uint8 or again.shape != pixels.shape or not np.array_equal(again, pixels):
        raise BrokenModelError("to_images does not give back the pixels that from_images was given")
    bits = jax.jit(lambda model, images: model.bits_per_dim(images, key))(model, jnp.asarray(pixels))
    if bits.shape != (BATCH,) or not bool(jnp.all(jnp.isfinite(bits))):
        raise BrokenModelError(f"bits_per_dim should give a finite number for each of {BATCH} images, not {bits}")
