"""Batch-norm statistics for weights that were never trained: those of a few images."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from models.densenet.batch_norm import MOMENTUM


def calibrate(model: Any, x: Float[Array, "N H W C"]) -> None:
    """Make a classifier's running statistics those of one batch ``x``, as ``model.from_images`` gives it.

    Without it the features of random weights grow or vanish from layer to layer. The variances are unbiased.
    """
    model.train()
    graph = nnx.graphdef(model)
    model.eval()
    statistics, rest = nnx.state(model, nnx.BatchStat, ...)

    @jax.jit
    def moved(statistics: Any, rest: Any, x: Float[Array, "N H W C"]) -> Any:
        """The statistics after one training pass from zero: MOMENTUM times those of the batch."""
        zeros = jax.tree.map(lambda a: 0.0 * a, statistics)
        training = nnx.merge(graph, zeros, rest)
        training(x)
        return jax.tree.map(lambda a: a / MOMENTUM, nnx.state(training, nnx.BatchStat))

    nnx.update(model, moved(statistics, rest, x))
