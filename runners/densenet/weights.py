"""A classifier with weights: a checkpoint's, published ones where they are downloaded, or random ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from data.images.pictures import load_calibration
from models import CLASSIFIERS
from models.densenet.calibration import calibrate
from models.weights.checkpoint import Checkpoint
from models.weights.downloads import downloaded, downloads
from models.weights.load import load_checkpoint
from runners.config.models import random_weights
from runners.config.schema import UsageError
from runners.densenet.config import DenseNetRunnerConfig


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier with weights."""

    checkpoint: Checkpoint  # the model; ``trained`` tells whether its weights are
    origin: str  # where the weights are from, in a few words
    description: str  # the same, and what batch-norm statistics are of where the weights are random


def load_classifier(config: DenseNetRunnerConfig) -> LoadedClassifier:
    """The network that a config names. Raises a UserError where it cannot be had, or is no classifier."""
    options = {"name": "densenet", **(config.model or {})}
    if options["name"] not in list(CLASSIFIERS):
        raise UsageError(f"model {options['name']} is no classifier; valid: {', '.join(CLASSIFIERS)}")
    reference = config.checkpoint
    if config.published is not None and downloaded(downloads()[config.published]) is not None:
        reference = config.published
    if reference is None:
        return _random(config, options)
    origin = f"weights of {reference}"
    return LoadedClassifier(load_checkpoint(reference, options), origin, origin)


def _random(config: DenseNetRunnerConfig, options: Mapping[str, Any]) -> LoadedClassifier:
    """Random weights. Published ones that are missing lend their architecture."""
    origin = "random"
    if config.published is not None:
        published = downloads()[config.published].model
        options = {**(published if isinstance(published, dict) else {}), **options}
        origin = f"random, as {config.published} is not downloaded"
    drawn = random_weights(options, config.seed)
    images = load_calibration(shape=drawn.model.image_shape, **config.data.model_dump())
    calibrate(drawn.model, drawn.model.from_images(jnp.asarray(images.images)))
    description = f"{origin}; batch-norm statistics calibrated on {images.source}"
    return LoadedClassifier(dataclasses.replace(drawn, info={"weights": description}), origin, description)
