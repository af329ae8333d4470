"""Samples of a model under training, to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from common.files import write_atomically
from models.autoregressive import AutoregressiveSystem
from runners.experiment import RunFailure
from runners.plotting.images import sample_grid
from solvers import CachedSequential, Jacobi, Solver, Status, solve, solver_name

NUM_SAMPLES = 64


@dataclass(frozen=True)
class Drawn:
    """Samples, and how they were drawn. Satisfies Artifact."""

    images: UInt8[np.ndarray, "N H W C"]
    solver: str
    num_steps: int

    @property
    def record(self) -> dict[str, Any]:
        """How many, by which solver, in how many steps."""
        about = {"batch_size": len(self.images), "solver": self.solver, "num_steps": self.num_steps}
        return {"samples": about}

    def write(self, folder: Path, suffix: str) -> None:
        """samples<suffix>.png."""
        write_atomically(folder / f"samples{suffix}.png", sample_grid(self.images))


class Sampler:
    """Draws with the same noise every time, by what is fastest: the cache on a CPU, where work is time, else Jacobi."""

    def __init__(self) -> None:
        self._solver: Solver = CachedSequential() if jax.default_backend() == "cpu" else Jacobi()
        self._draw = jax.jit(self._solve)  # compiled once for all weights

    def draw(self, model: Any, key: Array) -> Drawn:
        """Samples of a model. Raises RunFailure where they are not finite."""
        images, num_steps, status = self._draw(model, key)
        if Status(int(status)) is not Status.CONVERGED:
            raise RunFailure(f"samples cannot be drawn: {Status(int(status)).sentence}")
        return Drawn(np.asarray(images), solver_name(self._solver), int(num_steps))

    def _solve(self, model: Any, key: Array) -> tuple[UInt8[Array, "N H W C"], Int[Array, ""], Int[Array, ""]]:
        system = AutoregressiveSystem(model.fold(), model.head, model.draw_noise(key, NUM_SAMPLES))
        solution = solve(system, self._solver)
        images = model.to_images(jnp.moveaxis(solution.value, 0, 1))
        return images, solution.stats.num_steps, solution.status
