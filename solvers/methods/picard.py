"""Picard iteration: Newton's method with identities for Jacobians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..linear.linearize import ravel, transitions
from ..solver import Solver, StepInfo
from ..system import MarkovSystem
from ..trees.blocks import Start
from .newton import scan_step


@dataclass(frozen=True)
class Picard(Solver):
    """x <- x + d, d_t = (F(x)_t - x_t) + d_{t-1}: increments F(x)_t - x_{t-1} summed up from the initial state.

    This is Picard's iteration of an ordinary differential equation in its integral form, taken over to difference
    equations: good where x changes little from one equation to the next, as with small time steps (Shih et al.,
    "Parallel sampling of diffusion models", NeurIPS 2023; as a member of this family: arXiv 2509.21716). It takes no
    derivatives. T steps always suffice.
    """

    requires: ClassVar[type] = MarkovSystem
    tol: float = 1e-6

    def step(self, system: Any, x: Any, state: None, frontier: Int[Array, " B"]) -> tuple[Any, None, StepInfo]:
        """One sweep, and one scan that sums up the increments."""
        new, here = scan_step(system, x, frontier, _identities, self.tol, trusted=0.0)
        return new, None, StepInfo(here.residual, here.frontier, 1, 1.0)

    def floats_per_equation(self, features: int) -> int:
        """Working memory of a step, in numbers for each equation and sample."""
        return 12 * features


def _identities(system: Any, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D"]]:
    """The transitions, and ones on the diagonals."""
    return transitions(system, previous, start), jnp.ones_like(ravel(previous))
