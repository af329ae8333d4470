"""Training a diffusion model to tell images from noise, with samples of the model to look at."""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Float, Int32, UInt8

from data.images.dataset import Dataset
from models.capabilities import Denoiser
from runners.config.schema import DataConfig
from runners.training.metrics import DENOISING
from runners.training.tasks.images import Labelled, of_known_classes
from runners.training.tasks.pictures import DrawingTask


class DenoisingTask(DrawingTask):
    """The squared error of what the network tells of noisy images. Satisfies TrainTask.

    The model needs ``denoising_loss(images, labels, key)``, and ``equations`` and ``images`` for the samples.
    """

    capability = Denoiser
    metrics = (DENOISING,)
    selection_metric = DENOISING

    @classmethod
    def load(cls, data: DataConfig, name: str, model: Any, num_train: int | None, num_held_out: int | None) -> Dataset:
        """The first images of both parts. Raises UsageError also where the model knows too few classes for them."""
        dataset = super().load(data, name, model, num_train, num_held_out)
        return of_known_classes(dataset, name, model) if model.num_classes else dataset

    @staticmethod
    @jax.jit
    def judged(
        model: Any, images: UInt8[Array, "B H W C"], labels: Int32[Array, " B"], key: Array
    ) -> dict[str, Float[Array, " B"]]:
        """The error in each image."""
        return {DENOISING.key: model.denoising_loss(images, labels, key)}

    def loss(self, model: Any, carry: Any, batch: Labelled, key: Array) -> tuple[Float[Array, " B"], Any]:
        """The error in each image."""
        losses: Float[Array, " B"] = model.denoising_loss(*batch, key)
        return losses, carry
