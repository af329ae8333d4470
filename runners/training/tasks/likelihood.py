"""Training by the likelihood of images, in bits/dim, with samples of the model to look at."""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Float, Int32, UInt8

from models.capabilities import DensityModel
from runners.training.metrics import BITS_PER_DIM
from runners.training.tasks.images import Labelled
from runners.training.tasks.pictures import DrawingTask


class LikelihoodTask(DrawingTask):
    """Minus the logarithm of the likelihood of images. Satisfies TrainTask.

    The model needs ``bits_per_dim(images, key)``, which in training mode draws dropout and the like from its key.
    """

    capability = DensityModel
    metrics = (BITS_PER_DIM,)
    selection_metric = BITS_PER_DIM

    @staticmethod
    @jax.jit
    def judged(
        model: Any, images: UInt8[Array, "B H W C"], labels: Int32[Array, " B"], key: Array
    ) -> dict[str, Float[Array, " B"]]:
        """The bits/dim of each image."""
        return {BITS_PER_DIM.key: model.bits_per_dim(images, key)}

    def loss(self, model: Any, carry: Any, batch: Labelled, key: Array) -> tuple[Float[Array, " B"], Any]:
        """The bits/dim of each image."""
        bits: Float[Array, " B"] = model.bits_per_dim(batch[0], key)
        return bits, carry
