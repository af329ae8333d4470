"""Training by the likelihood of images, in bits/dim."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float

from runners.config.schema import UsageError
from runners.training.config import LikelihoodConfig
from runners.training.held_out import held_out_bits_per_dim
from runners.training.task import Metric
from runners.training.tasks.images import ImageTask, Labelled
from runners.training.tasks.samples import Drawn, Sampler

BITS = Metric("bits_per_dim", "bits/dim")


class LikelihoodTask(ImageTask):
    """Minus the logarithm of the likelihood of images. Satisfies TrainTask.

    The model needs ``bits_per_dim(images, key)``, which in training mode draws dropout and the like from its key.
    """

    metrics = (BITS,)
    selection_metric = BITS
    verb = "draws"

    def __init__(self, config: LikelihoodConfig, model: Any) -> None:
        """Load the dataset. Raises UsageError where the model does not fit it, or tells no likelihood of images."""
        if not hasattr(model, "bits_per_dim"):
            raise UsageError(f"model {config.model['name']} does not tell the likelihood of images")
        super().__init__(config, model)
        self._sampler = Sampler()
        bits = partial(held_out_bits_per_dim, draws=config.eval_draws, batch_size=config.batch_size)
        self._bits = jax.jit(bits)

    def loss(self, model: Any, carry: Any, batch: Labelled, key: Array) -> tuple[Float[Array, " B"], Any]:
        """Bits/dim of each image."""
        bits: Float[Array, " B"] = model.bits_per_dim(batch[0], key)
        return bits, carry

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """Mean bits/dim."""
        return {BITS.key: float(self._bits(model, self.held_out[0], key))}

    def checkpoint_info(self, values: Mapping[str, float]) -> dict[str, Any]:
        """The bits/dim."""
        return {"bits_per_dim": values[BITS.key]}

    def show(self, model: Any, key: Array) -> Drawn:
        """Samples."""
        return self._sampler.draw(model, key)
