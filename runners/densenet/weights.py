"""A classifier with weights: a checkpoint's, published ones where they are downloaded, or random ones."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx

from data.images.pictures import load_calibration
from models import CLASSIFIERS, ModelError, describe_config, model_class, model_config
from models.densenet.calibration import calibrate
from models.weights.checkpoint import Checkpoint, CheckpointError
from models.weights.downloads import downloaded, downloads
from models.weights.load import load_checkpoint
from runners.config.schema import UsageError
from runners.densenet.config import DenseNetRunnerConfig


def load_classifier(config: DenseNetRunnerConfig) -> Checkpoint:
    """The network that a config names. Raises UsageError where it cannot be had, or is no classifier."""
    expected = {"name": "densenet", **(config.model or {})}
    if expected["name"] not in list(CLASSIFIERS):
        raise UsageError(f"model {expected['name']} is no classifier; valid: {', '.join(CLASSIFIERS)}")
    reference = config.checkpoint
    if config.published is not None and downloaded(downloads()[config.published]) is not None:
        reference = config.published
    try:
        if reference is not None:
            return load_checkpoint(reference, expected)
        return _random(config, expected)
    except (CheckpointError, ModelError) as error:
        raise UsageError(str(error)) from None


def _random(config: DenseNetRunnerConfig, expected: dict[str, Any]) -> Checkpoint:
    """Random weights. Published ones that are missing lend their architecture."""
    weights = "random"
    if config.published is not None:
        published = downloads()[config.published].model
        expected = {**(published if isinstance(published, dict) else {}), **expected}
        weights = f"random, as {config.published} is not downloaded"
    architecture = model_config(expected)
    model = model_class(expected["name"])(architecture, rngs=nnx.Rngs(config.seed))
    images = load_calibration(config.data, model.image_shape)
    calibrate(model, model.from_images(jnp.asarray(images.images)))
    info = {"weights": f"{weights}; batch-norm statistics calibrated on {images.source}"}
    return Checkpoint(expected["name"], model, info, trained=False)


def describe_weights(config: DenseNetRunnerConfig, checkpoint: Checkpoint) -> str:
    """What weights they are, in a few words."""
    if "weights" in checkpoint.info:
        return str(checkpoint.info["weights"])
    return f"weights of {config.checkpoint or config.published}"


def resolved_config(config: DenseNetRunnerConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """The config with every default filled in, as results have it."""
    return {
        "model": describe_config(checkpoint.name, checkpoint.model.config),
        **config.model_dump(exclude={"solvers", "model"}),
        "solvers": [entry.record for entry in config.solvers],
        "weights": checkpoint.info,
    }
