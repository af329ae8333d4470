"""Quasi-ELK: damped quasi-Newton steps, each by a parallel scalar Kalman filter."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Array, Float

from ..linear.choices import Linearize
from ..linear.linearize import diagonals
from .elk import LevenbergMarquardt


@dataclass(frozen=True)
class QuasiELK(LevenbergMarquardt):
    """ELK with the diagonals of the Jacobians: D scalar filters side by side (arXiv 2407.19115).

    Options as ELK's. O(T D) memory and arithmetic a step, and stable where quasi-Newton's steps overflow. T steps
    always suffice.
    """

    @property
    def linearize(self) -> Linearize:
        """The diagonals of the Jacobians, from the system or by D forward derivatives in turn."""
        return diagonals

    @property
    def trusted(self) -> float:
        """No step: diagonals are not Jacobians, so a step from a point that meets the tolerance may lead away."""
        return 0.0

    def blank_matrices(self, blank: Float[Array, "T B D"]) -> Float[Array, "T B D"]:
        """Zeros laid out as diagonals."""
        return blank

    def floats_per_equation(self, features: int) -> int:
        """Working memory of a step, in numbers for each equation and sample."""
        return 20 * features
