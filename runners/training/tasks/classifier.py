"""Training a classifier of images by the cross-entropy of its classes, with its errors to look at."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, Shaped, UInt8

from data.images.dataset import Dataset
from models.capabilities import Classifier
from runners.config.schema import DataConfig, UsageError
from runners.plotting.picture import Picture
from runners.training.config import ClassifierConfig
from runners.training.figures import errors_figure
from runners.training.metrics import ACCURACY, CROSS_ENTROPY, HELD_OUT
from runners.training.task import ModelOutput
from runners.training.tasks.images import HostLabelled, ImageTask, Labelled, of_known_classes


class ClassifierTask(ImageTask):
    """Softmax cross-entropy with the dataset's labels. Satisfies TrainTask.

    The model needs ``from_images(images)`` and ``model(x)``, the logits (N, num_classes) of what that gives; in
    training mode it may use the statistics of the batch, and move its ``nnx.BatchStat`` variables.
    """

    capability = Classifier
    metrics = (CROSS_ENTROPY, ACCURACY)
    selection_metric = ACCURACY
    info_prefix = HELD_OUT.prefix
    has_noise = False
    verb = "reads"

    def __init__(self, config: ClassifierConfig, model: Any) -> None:
        """Load the dataset. Raises UsageError where the model does not fit it."""
        super().__init__(config, model)
        if not (self.train[1].any() or self.held_out[1].any()):
            raise UsageError(
                f"the images of the dataset {self.dataset} are of one class; a classifier needs more: of a folder each "
                "subfolder is one, of arrays labels names them"
            )
        self._smoothing = config.label_smoothing

    @classmethod
    def load(cls, data: DataConfig, name: str, model: Any, num_train: int | None, num_held_out: int | None) -> Dataset:
        """The first images of both parts. Raises UsageError also where the model knows too few classes for them."""
        return of_known_classes(super().load(data, name, model, num_train, num_held_out), name, model)

    @staticmethod
    @jax.jit
    def judged(
        model: Any, images: UInt8[Array, "B H W C"], labels: Int32[Array, " B"], key: Array
    ) -> dict[str, Shaped[Array, " B"]]:
        """Cross-entropy and accuracy of each image, and the class ``predicted``: that of the largest logit."""
        logits = model(model.from_images(images))
        predicted = jnp.argmax(logits, axis=-1)
        entropy = -_chosen(jax.nn.log_softmax(logits), labels)
        return {CROSS_ENTROPY.key: entropy, ACCURACY.key: predicted == labels, "predicted": predicted}

    def loss(self, model: Any, carry: Any, batch: Labelled, key: Array) -> tuple[Float[Array, " B"], Any]:
        """Cross-entropy of each image; with label smoothing that of the smoothed labels."""
        images, labels = batch
        logs = jax.nn.log_softmax(model(model.from_images(images)))
        smooth = self._smoothing
        return -(1.0 - smooth) * _chosen(logs, labels) - smooth * jnp.mean(logs, axis=-1), carry

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """The classes that it takes for others, and the held-out images that it gets wrong."""
        scores = self.scores(model, self.held_out, key, batch_size=self.batch_size)
        predicted = np.concatenate([values["predicted"] for _, values in scores])
        return errors_output(self.held_out, predicted, model.num_classes, suffix)


def errors_output(images: HostLabelled, predicted: Int[np.ndarray, " N"], num_classes: int, suffix: str) -> ModelOutput:
    """The wrong answers image by image, and errors<suffix>.png: the confusions, and the first images of them."""
    labels = images[1]
    wrong = [
        {"image": int(i), "label": int(labels[i]), "predicted": int(predicted[i])}
        for i in np.flatnonzero(predicted != labels)
    ]
    draw = partial(errors_figure, *images, predicted, confusions(labels, predicted, num_classes))
    return ModelOutput({"num_held_out": len(labels), "wrong": wrong}, [Picture(f"errors{suffix}.png", draw)])


def confusions(
    labels: Int[np.ndarray, " N"], predicted: Int[np.ndarray, " N"], num_classes: int
) -> Int[np.ndarray, "K K"]:
    """The number of images of each class (row) that a classifier takes for each class (column)."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def _chosen(logs: Float[Array, "B K"], labels: Int32[Array, " B"]) -> Float[Array, " B"]:
    """The entry of each row that its label names."""
    return jnp.take_along_axis(logs, labels[:, None], axis=-1)[:, 0]
