"""Training a classifier of images by the cross-entropy of its classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from runners.config.schema import UsageError
from runners.training.config import ClassifierConfig
from runners.training.held_out import held_out_logits
from runners.training.task import Metric
from runners.training.tasks.errors import Errors
from runners.training.tasks.images import ImageTask, Labelled

CROSS_ENTROPY = Metric("cross_entropy", "cross-entropy", "nats")
ACCURACY = Metric("accuracy", "accuracy", style=".2%", higher_is_better=True)


class ClassifierTask(ImageTask):
    """Softmax cross-entropy with the dataset's labels. Satisfies TrainTask.

    The model needs ``from_images(images)`` and ``model(x)``, the logits (N, num_classes) of what that gives; in
    training mode it may use the statistics of the batch, and move its ``nnx.BatchStat`` variables.
    """

    metrics = (CROSS_ENTROPY, ACCURACY)
    selection_metric = ACCURACY
    verb = "reads"

    def __init__(self, config: ClassifierConfig, model: Any) -> None:
        """Load the dataset. Raises UsageError where the model does not fit it."""
        super().__init__(config, model)
        self._smoothing, self._num_classes = config.label_smoothing, model.config.num_classes
        labels = np.concatenate([self.train[1], self.held_out[1]])
        if labels.max() >= self._num_classes:
            raise UsageError(
                f"model {config.model['name']} knows {self._num_classes} classes; num_classes should be at least "
                f"{labels.max() + 1} for the labels of the dataset {self.dataset}"
            )
        self._logits = jax.jit(partial(held_out_logits, batch_size=config.batch_size))

    def loss(self, model: Any, carry: Any, batch: Labelled, key: Array) -> tuple[Float[Array, " B"], Any]:
        """Cross-entropy of each image; with label smoothing that of the smoothed labels."""
        images, labels = batch
        logs = jax.nn.log_softmax(model(model.from_images(images)))
        smooth = self._smoothing
        return -(1.0 - smooth) * _chosen(logs, labels) - smooth * jnp.mean(logs, axis=-1), carry

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """Mean cross-entropy, and the share of images whose largest logit is that of their class."""
        images, labels = self.held_out
        logits = self._logits(model, images)
        return {
            CROSS_ENTROPY.key: -float(jnp.mean(_chosen(jax.nn.log_softmax(logits), labels))),
            ACCURACY.key: float(np.mean(np.argmax(np.asarray(logits), axis=-1) == np.asarray(labels))),
        }

    def checkpoint_info(self, values: Mapping[str, float]) -> dict[str, Any]:
        """Accuracy and cross-entropy."""
        return {"held_out_accuracy": values[ACCURACY.key], "held_out_cross_entropy": values[CROSS_ENTROPY.key]}

    def show(self, model: Any, key: Array) -> Errors:
        """What it takes for what, and the held-out images that it gets wrong."""
        images, labels = self.held_out
        predicted = np.argmax(np.asarray(self._logits(model, images)), axis=-1)
        return Errors(np.asarray(images), np.asarray(labels), predicted, self._num_classes)


def _chosen(logs: Float[Array, "B K"], labels: Any) -> Float[Array, " B"]:
    """The entry of each row that its label names."""
    return jnp.take_along_axis(logs, labels[:, None], axis=-1)[:, 0]
