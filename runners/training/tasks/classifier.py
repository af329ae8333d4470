"""Training a classifier of images by the cross-entropy of its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8

from data.images.dataset import Dataset
from runners.config.schema import DataConfig, UsageError
from runners.training.config import ClassifierConfig, EvaluateConfig
from runners.training.held_out import held_out_logits, logits_by_image
from runners.training.metrics import ACCURACY, CROSS_ENTROPY
from runners.training.task import ModelOutput, Scores
from runners.training.tasks.errors import Errors
from runners.training.tasks.images import ImageTask, Labelled


class ClassifierTask(ImageTask):
    """Softmax cross-entropy with the dataset's labels. Satisfies TrainTask.

    The model needs ``from_images(images)`` and ``model(x)``, the logits (N, num_classes) of what that gives; in
    training mode it may use the statistics of the batch, and move its ``nnx.BatchStat`` variables.
    """

    metrics = (CROSS_ENTROPY, ACCURACY)
    selection_metric = ACCURACY
    has_noise = False
    verb = "reads"

    def __init__(self, config: ClassifierConfig, model: Any) -> None:
        """Load the dataset. Raises UsageError where the model does not fit it."""
        super().__init__(config, model)
        self._smoothing, self._num_classes = config.label_smoothing, model.config.num_classes
        self._logits = jax.jit(partial(held_out_logits, batch_size=config.batch_size))

    @classmethod
    def suits(cls, model: Any) -> bool:
        """Whether a model is one that gives logits of images."""
        return hasattr(model, "from_images") and hasattr(model.config, "num_classes")

    @classmethod
    def load(cls, data: DataConfig, name: str, model: Any, num_train: int | None, num_held_out: int | None) -> Dataset:
        """The first images of both parts. Raises UsageError also where the model knows too few classes for them."""
        dataset = super().load(data, name, model, num_train, num_held_out)
        largest = max(dataset.train_labels.max(), dataset.held_out_labels.max())
        if largest >= model.config.num_classes:
            raise UsageError(
                f"model {name} knows {model.config.num_classes} classes; num_classes should be at least {largest + 1} "
                f"for the labels of the dataset {dataset.name}"
            )
        return dataset

    @classmethod
    def scores(
        cls, config: EvaluateConfig, model: Any, images: UInt8[np.ndarray, "N H W C"], labels: Int32[np.ndarray, " N"]
    ) -> Iterator[Scores]:
        """Cross-entropy and accuracy of images, batch by batch."""
        pieces = logits_by_image(model, images, config.batch_size)
        return (Scores(rows, jax.tree.map(np.asarray, _by_image(logits, labels[rows]))) for rows, logits in pieces)

    def loss(self, model: Any, carry: Any, batch: Labelled, key: Array) -> tuple[Float[Array, " B"], Any]:
        """Cross-entropy of each image; with label smoothing that of the smoothed labels."""
        images, labels = batch
        logs = jax.nn.log_softmax(model(model.from_images(images)))
        smooth = self._smoothing
        return -(1.0 - smooth) * _chosen(logs, labels) - smooth * jnp.mean(logs, axis=-1), carry

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """Mean cross-entropy, and the share of images whose largest logit is that of their class."""
        images, labels = self.held_out
        values = _by_image(self._logits(model, images), labels)
        return {name: float(np.mean(value)) for name, value in values.items()}

    def checkpoint_info(self, values: Mapping[str, float]) -> dict[str, Any]:
        """Accuracy and cross-entropy of the held-out images."""
        return {"held_out_accuracy": values[ACCURACY.key], "held_out_cross_entropy": values[CROSS_ENTROPY.key]}

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """The classes that it takes for others, and the held-out images that it gets wrong."""
        images, labels = self.held_out
        predicted = np.argmax(np.asarray(self._logits(model, images)), axis=-1)
        return Errors(np.asarray(images), np.asarray(labels), predicted, self._num_classes).output(suffix)


def _by_image(logits: Any, labels: Any) -> dict[str, Any]:
    """Every metric of each image."""
    return {
        CROSS_ENTROPY.key: -_chosen(jax.nn.log_softmax(logits), labels),
        ACCURACY.key: np.argmax(np.asarray(logits), axis=-1) == np.asarray(labels),
    }


def _chosen(logs: Float[Array, "B K"], labels: Any) -> Float[Array, " B"]:
    """The entry of each row that its label names."""
    return jnp.take_along_axis(logs, labels[:, None], axis=-1)[:, 0]
