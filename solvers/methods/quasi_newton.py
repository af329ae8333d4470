"""Quasi-Newton (quasi-DEER): Newton's method with the diagonals of the Jacobians."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int

from ..linear.linearize import diagonals, estimated_diagonals, jacobian_sweeps
from ..solver import Solver, StepInfo
from ..system import MarkovSystem
from .newton import scan_step


@dataclass(frozen=True)
class QuasiNewton(Solver):
    """x <- x + d, d_t = (F(x)_t - x_t) + diag(J_t) d_{t-1}: one diagonal scan.

    More steps than Newton's method, each with O(T D) memory and arithmetic (Gonzalez et al., "Towards scalable and
    stable parallelization of nonlinear RNNs", NeurIPS 2024, arXiv 2407.19115: quasi-DEER). T steps always suffice.

    ``probes`` 0: exact diagonals, from the system or by D forward derivatives in turn. n > 0: the mean of v * (J v)
    over n random directions v of +1 and -1 (Bekas, Kokiopoulou and Saad, "An estimator for the diagonal of a matrix",
    2007), new ones in each step and the same for all samples. That takes n forward derivatives, for systems with many
    features and without diagonals of their own.
    """

    requires: ClassVar[type] = MarkovSystem
    probes: int = 0
    tol: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probes < 0:
            raise ValueError(f"probes must be positive, or 0 for exact diagonals, not {self.probes}")

    def init(self, system: Any, x: Any) -> Int[Array, ""]:
        """The number of steps taken, from which directions are drawn."""
        return jnp.int32(0)

    def step(
        self, system: Any, x: Any, state: Int[Array, ""], frontier: Int[Array, " B"]
    ) -> tuple[Any, Int[Array, ""], StepInfo]:
        """One linearization by diagonals, and one scan."""
        linearize = partial(estimated_diagonals, probes=self.probes, draw=state) if self.probes else diagonals
        new, here = scan_step(system, x, frontier, linearize, self.tol, trusted=0.0)
        sweeps = 1.0 + (self.probes or jacobian_sweeps(system))
        return new, state + 1, StepInfo(here.residual, here.frontier, 1, sweeps)

    def floats_per_equation(self, features: int) -> int:
        """Working memory of a step, in numbers for each equation and sample."""
        return 16 * features
