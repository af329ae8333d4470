"""The part that all trainings on images share: dataset, order of an epoch, augmentation, evaluation."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, Int32, Shaped, UInt8

from data import load_dataset
from data.images.dataset import Dataset
from models.capabilities import require
from runners.config.schema import DataConfig, UsageError, check_config
from runners.measure.devices import ONE_DEVICE, Devices
from runners.measure.processes import gathered
from runners.training.config import EvaluateConfig, ImageTrainConfig
from runners.training.metrics import HELD_OUT
from runners.training.task import Evaluation, Scores, TrainTask, by_example

# Images (N, H, W, C) and their classes (N,).
Labelled: TypeAlias = tuple[UInt8[Array, "N H W C"], Int32[Array, " N"]]
HostLabelled: TypeAlias = tuple[UInt8[np.ndarray, "N H W C"], Int32[np.ndarray, " N"]]


class ImageTask(TrainTask):
    """The part of a TrainTask that does not depend on what is learnt about the images."""

    evaluated = HELD_OUT
    has_noise: ClassVar[bool]  # whether a metric may depend on noise
    verb: ClassVar[str]  # the verb of a model in messages: it draws images, or reads them
    eval_draws = 1  # of the noise, for each held-out image

    def __init__(self, config: ImageTrainConfig, model: Any) -> None:
        """Load the dataset. Raises DatasetError, or UsageError where model or batches do not fit it."""
        dataset = self.load(
            config.data, config.model["name"], model, config.max_train_images, config.max_held_out_images
        )
        self.dataset, self.batch_size, self.max_shift = dataset.name, config.batch_size, config.max_shift
        self.train: Labelled = (jnp.asarray(dataset.train), jnp.asarray(dataset.train_labels))
        self.held_out: HostLabelled = (dataset.held_out, dataset.held_out_labels)
        self.num_examples = len(self.train[0])
        if self.batch_size > self.num_examples:
            raise UsageError(f"batch_size {self.batch_size} is more than the {self.num_examples} training images")

    @classmethod
    def load(cls, data: DataConfig, name: str, model: Any, num_train: int | None, num_held_out: int | None) -> Dataset:
        """The first images of both parts of a dataset; None is all of a part.

        Raises DatasetError, CapabilityError, or UsageError where the images are not like those of the model.
        """
        require(model, cls.capability)
        dataset = load_dataset(**data.model_dump())
        if model.image_shape != dataset.image_shape:
            raise UsageError(
                f"model {name} {cls.verb} images of shape {list(model.image_shape)}, the dataset {dataset.name} has "
                f"{list(dataset.image_shape)}"
            )
        return dataclasses.replace(
            dataset,
            train=dataset.train[:num_train],
            train_labels=dataset.train_labels[:num_train],
            held_out=dataset.held_out[:num_held_out],
            held_out_labels=dataset.held_out_labels[:num_held_out],
        )

    @classmethod
    def evaluation(cls, config: EvaluateConfig, name: str, model: Any) -> Evaluation:
        """The metrics of each image of one part of a dataset. Raises DatasetError or UsageError as ``load`` does."""
        data = check_config(DataConfig, config.data, f"data for model {name}")
        dataset = cls.load(data, name, model, config.max_images, config.max_images)
        held_out = config.part == "held_out"
        images, labels = getattr(dataset, config.part), getattr(dataset, f"{config.part}_labels")
        draws = config.draws if cls.has_noise else 1
        key = jax.random.key(config.seed)
        devices = Devices.for_batch(config.mesh, min(config.batch_size, len(images)))
        return Evaluation(
            metrics=cls.metrics,
            num_examples=len(images),
            unit="images",
            words=f"{'held-out' if held_out else 'training'} images of {dataset.name}",
            data=data.model_dump(),
            scores=cls.scores(
                devices.whole(model), (images, labels), key, draws=draws, batch_size=config.batch_size, devices=devices
            ),
            draws=draws,
            mesh=devices.record,
        )

    @classmethod
    def scores(
        cls,
        model: Any,
        images: HostLabelled,
        key: Array,
        *,
        draws: int = 1,
        batch_size: int,
        devices: Devices = ONE_DEVICE,
    ) -> Iterator[Scores]:
        """The metrics of images, batch by batch and draw by draw, with noise that is a function of ``key``.

        All batches have one size, the last one filled up, and noise of their own.
        """
        num_images = len(images[0])
        size = min(batch_size, num_images)
        num_batches = -(-num_images // size)
        for i in range(draws * num_batches):
            rows = np.arange(size) + i % num_batches * size
            pixels, labels = devices.samples([jnp.asarray(a[np.minimum(rows, num_images - 1)]) for a in images])
            values = gathered(cls.judged(model, pixels, labels, jax.random.fold_in(key, i)))
            rows = rows[rows < num_images]
            yield Scores(rows, {name: np.asarray(value)[: len(rows)] for name, value in values.items()})

    @staticmethod
    @abstractmethod
    def judged(
        model: Any, images: UInt8[Array, "B H W C"], labels: Int32[Array, " B"], key: Array
    ) -> dict[str, Shaped[Array, " B"]]:
        """Every metric of each image by its key, and what else is of use. Compiled."""

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """The means over the held-out images of all metrics."""
        scores = self.scores(model, self.held_out, key, draws=self.eval_draws, batch_size=self.batch_size)
        values = by_example(scores, self.metrics, len(self.held_out[0]), self.eval_draws)
        return {name: float(each.mean()) for name, each in values.items()}

    def order(self, key: Array) -> Int[Array, " N"]:
        """All images in a random order, another one in every epoch."""
        return jax.random.permutation(key, self.num_examples)

    def augmented(self, batch: Labelled, key: Array) -> Labelled:
        """Images moved by up to ``max_shift`` pixels."""
        images, labels = batch
        return shifted(images, key, self.max_shift), labels


def of_known_classes(dataset: Dataset, name: str, model: Any) -> Dataset:
    """The dataset. Raises UsageError where the model called ``name`` knows too few classes for its labels."""
    largest = max(dataset.train_labels.max(), dataset.held_out_labels.max())
    if largest >= model.num_classes:
        raise UsageError(
            f"model {name} knows {model.num_classes} classes; num_classes should be at least {largest + 1} "
            f"for the labels of the dataset {dataset.name}"
        )
    return dataset


def shifted(images: UInt8[Array, "B H W C"], key: Array, most: int) -> UInt8[Array, "B H W C"]:
    """Each image moved by up to ``most`` pixels down or up and right or left, zeros coming in."""
    if most == 0:
        return images
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * most + 1)
    return jax.vmap(lambda image, corner: lax.dynamic_slice(image, (*corner, 0), images.shape[1:]))(padded, corners)
