"""Jacobi: all equations at once from the last guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..equations import compare, isolated, next_frontier, prefix_mask, select
from ..solver import Solver, StepInfo
from ..system import TriangularSystem


@dataclass(frozen=True)
class Jacobi(Solver):
    """x <- F(x), or with damping w < 1: x <- (1 - w) x + w F(x) beyond the exact prefix.

    After k sweeps the first k equations are exact, so T sweeps always suffice and one more confirms (Song et al.,
    "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML 2021). The exact
    prefix is never damped, or the guarantee would be lost.
    """

    requires: ClassVar[type] = TriangularSystem
    damping: float = 1.0
    tol: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.damping <= 1.0:
            raise ValueError(f"damping must be in (0, 1], where 1 is plain Jacobi, not {self.damping}")

    def step(self, system: Any, x: Any, state: None, frontier: Int[Array, " B"]) -> tuple[Any, None, StepInfo]:
        """One sweep, damped beyond the exact prefix."""
        num_equations = system.num_equations
        y = isolated(system.sweep, x, x)
        residual, matching = compare(y, x, num_equations)
        frontier = next_frontier(frontier, matching, num_equations)
        if self.damping < 1.0:
            damped = jax.tree.map(lambda a, b: _damp(a, b, self.damping), x, y)
            y = select(prefix_mask(frontier, num_equations), y, damped)
        return y, None, StepInfo(residual, frontier, 1, 1.0)


def _damp(old: Array, new: Array, weight: float) -> Array:
    if not jnp.issubdtype(new.dtype, jnp.inexact):
        return new  # class ids have nothing between them
    return (old + weight * (new - old)).astype(new.dtype)
