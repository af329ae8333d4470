"""Training by the likelihood of images, in bits/dim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8

from runners.config.schema import UsageError
from runners.training.config import EvaluateConfig, LikelihoodConfig
from runners.training.held_out import bits_by_image, held_out_bits_per_dim
from runners.training.metrics import BITS_PER_DIM
from runners.training.task import ModelOutput, Scores
from runners.training.tasks.images import ImageTask, Labelled
from runners.training.tasks.samples import Sampler


class LikelihoodTask(ImageTask):
    """Minus the logarithm of the likelihood of images. Satisfies TrainTask.

    The model needs ``bits_per_dim(images, key)``, which in training mode draws dropout and the like from its key.
    """

    metrics = (BITS_PER_DIM,)
    selection_metric = BITS_PER_DIM
    has_noise = True
    verb = "draws"

    def __init__(self, config: LikelihoodConfig, model: Any) -> None:
        """Load the dataset. Raises UsageError where the model does not fit it, or tells no likelihood of images."""
        if not self.suits(model):
            raise UsageError(f"model {config.model['name']} does not tell the likelihood of images")
        super().__init__(config, model)
        self._sampler = Sampler()
        bits = partial(held_out_bits_per_dim, draws=config.eval_draws, batch_size=config.batch_size)
        self._bits = jax.jit(bits)

    @classmethod
    def suits(cls, model: Any) -> bool:
        """Whether a model has a likelihood of images."""
        return hasattr(model, "bits_per_dim")

    @classmethod
    def scores(
        cls, config: EvaluateConfig, model: Any, images: UInt8[np.ndarray, "N H W C"], labels: Int32[np.ndarray, " N"]
    ) -> Iterator[Scores]:
        """The bits/dim of images, batch by batch and draw by draw."""
        key = jax.random.key(config.seed)
        pieces = bits_by_image(model, images, key, draws=config.draws, batch_size=config.batch_size)
        return (Scores(rows, {BITS_PER_DIM.key: bits}) for rows, bits in pieces)

    def loss(self, model: Any, carry: Any, batch: Labelled, key: Array) -> tuple[Float[Array, " B"], Any]:
        """The bits/dim of each image."""
        bits: Float[Array, " B"] = model.bits_per_dim(batch[0], key)
        return bits, carry

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """The mean bits/dim of the held-out images."""
        return {BITS_PER_DIM.key: float(self._bits(model, self.held_out[0], key))}

    def checkpoint_info(self, values: Mapping[str, float]) -> dict[str, Any]:
        """The bits/dim of the held-out images."""
        return {"bits_per_dim": values[BITS_PER_DIM.key]}

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """Samples of the model."""
        return self._sampler.draw(model, key, suffix)
