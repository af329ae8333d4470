"""Batch-norm statistics for random weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models import MODELS, model_config
from models.densenet.calibration import calibrate

MODEL = {
    "name": "densenet",
    "growth_rate": 4,
    "block_layers": [1],
    "num_init_features": 4,
    "num_classes": 10,
    "bn_size": 2,
    "image_shape": [28, 28, 1],
    "stem": "small",
    "pixel_mean": [0.13],
    "pixel_std": [0.3],
}


def test_calibrated_statistics_are_those_of_the_images() -> None:
    model = MODELS["densenet"](model_config(MODEL), rngs=nnx.Rngs(0))
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)
    x = model.from_images(jnp.asarray(images))
    calibrate(model, x)
    features = np.asarray(jax.jit(lambda stem, x: stem(x))(model.stem, x))
    norm = model.blocks[0][0].norm1
    np.testing.assert_allclose(norm.mean[...], features.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.var[...], features.var(axis=(0, 1, 2), ddof=1), rtol=1e-4)
    assert norm.use_running_average
