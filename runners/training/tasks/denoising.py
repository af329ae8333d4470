"""Training a diffusion model to tell images from noise, with samples of the model to look at."""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Float, Int32, UInt8

from data.images.dataset import Dataset
from models.capabilities import Denoiser
from runners.config.schema import DataConfig
from runners.training.config import DenoisingConfig
from runners.training.metrics import DENOISING
from runners.training.task import ModelOutput
from runners.training.tasks.images import ImageTask, Labelled, of_known_classes
from runners.training.tasks.pictures import check_draws, pictures


class DenoisingTask(ImageTask):
    """The squared error of what the network tells of noisy images. Satisfies TrainTask.

    The model needs ``denoising_loss(images, labels, key)``, and ``equations`` and ``images`` for the samples.
    """

    capability = Denoiser
    metrics = (DENOISING,)
    selection_metric = DENOISING
    has_noise = True
    verb = "draws"

    def __init__(self, config: DenoisingConfig, model: Any) -> None:
        """Load the dataset. Raises UserError where the model does not fit it."""
        check_draws(model)
        super().__init__(config, model)
        self.eval_draws = config.eval_draws

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

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """Samples of the model. Raises RunFailure where they are not finite."""
        return pictures(model, key, suffix)
