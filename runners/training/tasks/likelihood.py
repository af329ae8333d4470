"""Training by the likelihood of images, in bits/dim, with samples of the model to look at."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, UInt8

from models.capabilities import ImageModel
from runners.experiment import RunFailure
from runners.plotting.picture import Picture, sample_grid
from runners.training.config import LikelihoodConfig
from runners.training.metrics import BITS_PER_DIM
from runners.training.task import ModelOutput
from runners.training.tasks.images import ImageTask, Labelled
from solvers import CachedSequential, Jacobi, Solver, Status, solve, solver_name
from solvers.systems.autoregressive import AutoregressiveSystem

NUM_SAMPLES = 64


class LikelihoodTask(ImageTask):
    """Minus the logarithm of the likelihood of images. Satisfies TrainTask.

    The model needs ``bits_per_dim(images, key)``, which in training mode draws dropout and the like from its key.
    """

    capability = ImageModel
    metrics = (BITS_PER_DIM,)
    selection_metric = BITS_PER_DIM
    has_noise = True
    verb = "draws"

    def __init__(self, config: LikelihoodConfig, model: Any) -> None:
        """Load the dataset. Raises UserError where the model does not fit it, or makes no images."""
        super().__init__(config, model)
        self.eval_draws = config.eval_draws

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

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """Samples of the model, drawn with the same noise every time. Raises RunFailure where they are not finite."""
        images, num_steps, code = _draw(model, key)
        status = Status(int(code))
        if status is not Status.CONVERGED:
            raise RunFailure(f"samples cannot be drawn: {status.sentence}")
        about = {"batch_size": NUM_SAMPLES, "solver": solver_name(_fastest()), "num_steps": int(num_steps)}
        picture = Picture(f"samples{suffix}.png", partial(sample_grid, np.asarray(images)))
        return ModelOutput({"samples": about}, [picture])


def _fastest() -> Solver:
    """The solver that draws fastest: with the cache on a CPU, where work is time, else Jacobi."""
    return CachedSequential() if jax.default_backend() == "cpu" else Jacobi()


@jax.jit  # compiled once for all weights
def _draw(model: Any, key: Array) -> tuple[UInt8[Array, "N H W C"], Int[Array, ""], Int[Array, ""]]:
    """Samples, the sequential steps that they took, and the status of the solve."""
    system = AutoregressiveSystem(model.fold(), model.head, model.draw_noise(key, NUM_SAMPLES))
    solution = solve(system, _fastest())
    return model.to_images(jnp.moveaxis(solution.value, 0, 1)), solution.stats.num_steps, solution.status
