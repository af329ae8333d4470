"""Samples of a model under training, to look at."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from models.autoregressive import AutoregressiveSystem
from runners.experiment import RunFailure
from runners.plotting.images import sample_grid
from runners.plotting.picture import Picture
from runners.training.task import ModelOutput
from solvers import CachedSequential, Jacobi, Solver, Status, solve, solver_name

NUM_SAMPLES = 64


class Sampler:
    """Draws with the same noise every time, by what is fastest: the cache on a CPU, where work is time, else Jacobi."""

    def __init__(self) -> None:
        self._solver: Solver = CachedSequential() if jax.default_backend() == "cpu" else Jacobi()
        self._draw = jax.jit(self._solve)  # compiled once for all weights

    def draw(self, model: Any, key: Array, suffix: str) -> ModelOutput:
        """Draw samples<suffix>.png of a model. Raises RunFailure where they are not finite."""
        images, num_steps, status = self._draw(model, key)
        if Status(int(status)) is not Status.CONVERGED:
            raise RunFailure(f"samples cannot be drawn: {Status(int(status)).sentence}")
        about = {"batch_size": len(images), "solver": solver_name(self._solver), "num_steps": int(num_steps)}
        picture = Picture(f"samples{suffix}.png", partial(sample_grid, np.asarray(images)))
        return ModelOutput({"samples": about}, [picture])

    def _solve(self, model: Any, key: Array) -> tuple[UInt8[Array, "N H W C"], Int[Array, ""], Int[Array, ""]]:
        system = AutoregressiveSystem(model.fold(), model.head, model.draw_noise(key, NUM_SAMPLES))
        solution = solve(system, self._solver)
        images = model.to_images(jnp.moveaxis(solution.value, 0, 1))
        return images, solution.stats.num_steps, solution.status
