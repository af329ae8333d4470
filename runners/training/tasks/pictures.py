"""Images that a model draws while it is trained, by the solver that is fastest on the device."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from models.capabilities import ImageModel, PictureModel, require
from runners.experiment import RunFailure
from runners.plotting.picture import Picture, sample_grid
from runners.training.config import DenoisingConfig, LikelihoodConfig
from runners.training.task import ModelOutput
from runners.training.tasks.images import ImageTask
from solvers import CachedSequential, Jacobi, Segmented, Solver, Status, solve, solver_name
from solvers.system import SegmentedSystem
from solvers.systems.autoregressive import AutoregressiveSystem
from solvers.trees.platform import on_cpu

NUM_SAMPLES = 64


class DrawingTask(ImageTask):
    """The part of a task that is the same for all models that draw images."""

    has_noise = True
    verb = "draws"

    def __init__(self, config: LikelihoodConfig | DenoisingConfig, model: Any) -> None:
        """Load the dataset. Raises UserError where the model does not fit it, or makes no images."""
        check_draws(model)
        super().__init__(config, model)
        self.eval_draws = config.eval_draws

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """Samples of the model. Raises RunFailure where they are not finite."""
        return pictures(model, key, suffix)


def pictures(model: Any, key: Array, suffix: str) -> ModelOutput:
    """Samples of an ImageModel or a PictureModel, drawn with the same noise every time.

    Raises RunFailure where they are not finite.
    """
    images, num_steps, code = _draw(model, key)
    status = Status(int(code))
    if status is not Status.CONVERGED:
        raise RunFailure(f"samples cannot be drawn: {status.sentence}")
    solver = solver_name(_fastest(jax.eval_shape(lambda model: _system(model, key), model)))
    about = {"batch_size": NUM_SAMPLES, "solver": solver, "num_steps": int(num_steps)}
    picture = Picture(f"samples{suffix}.png", partial(sample_grid, np.asarray(images)))
    return ModelOutput({"samples": about}, [picture])


def check_draws(model: Any) -> None:
    """Raise CapabilityError unless samples of the model can be drawn and seen."""
    if not isinstance(model, PictureModel):
        require(model, ImageModel)


def _system(model: Any, key: Array) -> Any:
    """The equations of samples."""
    if isinstance(model, ImageModel):
        return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(key, NUM_SAMPLES))
    return model.equations(key, NUM_SAMPLES)


def _fastest(system: Any) -> Solver:
    """The solver that draws fastest: with the cache on a CPU, where work is time, else Jacobi."""
    one = CachedSequential() if on_cpu() else Jacobi()
    return Segmented(one) if isinstance(system, SegmentedSystem) else one


@jax.jit  # compiled once for all weights
def _draw(model: Any, key: Array) -> tuple[UInt8[Array, "N H W C"], Int[Array, ""], Int[Array, ""]]:
    """Samples, the sequential steps that they took, and the status of the solve."""
    system = _system(model, key)
    solution = solve(system, _fastest(system))
    if isinstance(model, ImageModel):
        images = model.to_images(jnp.moveaxis(solution.value, 0, 1))
    else:
        images = model.images(solution.value)
    return images, solution.stats.num_steps, solution.status
