"""The keys of an experiment on a DenseNet's layers as equations, and the classifier that they name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
from pydantic import BeforeValidator, Field, field_validator, model_validator

from common.names import unknown
from data.images.pictures import load_calibration
from models import CLASSIFIERS
from models.densenet.calibration import calibrate
from models.weights.checkpoint import Checkpoint
from models.weights.downloads import downloaded, downloads
from models.weights.load import load_checkpoint
from runners.config.models import ModelChoice, random_weights
from runners.config.schema import IN_ORDER, Count, DataConfig, Keys, RunConfig, UsageError
from runners.config.solvers import SolverEntry, SolverList


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class EarlyExit(Keys):
    """The rule by which one stops before the answer is known to be exact."""

    # Steps without a change of the five largest logits; of a list each is tried.
    k: Annotated[list[Count], Field(min_length=1), IN_ORDER, BeforeValidator(_as_list)]


class DenseNetRunnerConfig(RunConfig, ModelChoice):
    """Which network, which images, and how its layers are solved for."""

    shares_devices: ClassVar[bool] = True
    ways: ClassVar[tuple[str, ...]] = ("model", "checkpoint", "published")

    # A name in the registry of downloads: these weights where they are downloaded. Otherwise, and where there is no
    # checkpoint, weights are random, with batch-norm statistics of images, and marked as such.
    published: str | None = None
    # A dataset's held-out images; or photographs, those of installed packages; or imagenet, the validation images
    # under ``root``, and the photographs where no root is given and the default one has none.
    data: DataConfig = DataConfig()
    num_images: Count = 100
    batch_size: Count = 1  # images that are solved for together; the published experiment has 1
    # Each {name: ..., options}; max_steps, repeats and trace are options of every solver. Without trace: false it is
    # followed step by step on all images. The first sequential one is the reference for errors of the state.
    solvers: SolverList
    early_exit: EarlyExit = EarlyExit(k=[3])
    repeats: Count = 5  # timed runs of each solver on the first batch, after one that is not (unless it is long)
    time_limit_s: Annotated[float, Field(gt=0)] | None = None  # for each of these runs

    @field_validator("solvers")
    @classmethod
    def _refuse_stops(cls, value: list[SolverEntry]) -> list[SolverEntry]:
        for entry in value:
            if entry.stop is not None:
                raise ValueError(f"solver {entry.name}: stop does not belong here; see early_exit for stopping early")
        return value

    @model_validator(mode="after")
    def _check_published(self) -> DenseNetRunnerConfig:
        if self.checkpoint is not None and self.published is not None:
            raise ValueError("checkpoint and published are given; expected one of them")
        if self.published is not None and self.published not in downloads():
            raise ValueError(unknown("published checkpoint", self.published, downloads()))
        return self


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
