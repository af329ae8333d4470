"""Newton's method for order-one systems (DEER) with the Jacobians of one's choice, and the step of the family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int

from ..linear.choices import (
    CHOICES,
    ESTIMATED,
    check_choice,
    floats_per_equation,
    linearization,
    sweeps_beside,
)
from ..linear.step import scan_step
from ..solver import Solver, StepInfo
from ..system import MarkovSystem


@dataclass(frozen=True)
class Newton(Solver):
    """x <- x + d, where d solves the equations linearized at x: d_t = (F(x)_t - x_t) + A_t d_{t-1}, d_{-1} = 0.

    One affine prefix scan a step. With ``jacobian`` full, A_t is the Jacobian J_t (Lim et al., "Parallelizing
    non-linear sequential models over the sequence length", ICLR 2024, arXiv 2309.12252: DEER): quadratic convergence
    where it converges, O(T D^2) memory and O(T D^3) arithmetic. What else may stand for it: ``diagonal``, diag(J_t);
    ``block_diagonal``, its entries inside blocks of ``block_size`` features (feature j K + k is entry j of block k);
    ``scalar``, the mean of its diagonal; ``identity``; ``system``, what a StructuredMarkovSystem tells. Those take more
    steps, each with less memory and arithmetic. The exact prefix takes F(x) itself, so that T steps suffice as they
    do for Jacobi. Class ids and other integers take F(x) too.

    ``probes`` 0: exact diagonals, from the system or by D forward derivatives in turn. n > 0: the mean of v * (J v)
    over n random directions v of +1 and -1 (Bekas, Kokiopoulou and Saad, "An estimator for the diagonal of a matrix",
    2007), new ones in each step and the same for all samples. That takes n forward derivatives, for systems with many
    features and without diagonals of their own.
    """

    requires: ClassVar[type] = MarkovSystem
    jacobian: str = "full"
    block_size: int = 2
    probes: int = 0
    tol: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jacobian not in CHOICES:
            raise ValueError(f"jacobian must be one of {', '.join(CHOICES)}, not {self.jacobian!r}")
        if self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, not {self.block_size}")
        if self.probes < 0:
            raise ValueError(f"probes must be positive, or 0 for exact diagonals, not {self.probes}")
        if self.probes and self.jacobian not in ESTIMATED:
            raise ValueError(f"probes estimate the jacobians {' and '.join(ESTIMATED)}, not {self.jacobian!r}")

    def max_steps(self, system: Any) -> int:
        """T and one that confirms. Raises PairingError where the system has no matrices of that choice."""
        check_choice(self.jacobian, self.block_size, system)
        return super().max_steps(system)

    def init(self, system: Any, x: Any) -> Int[Array, ""]:
        """The number of steps taken, from which directions are drawn."""
        return jnp.int32(0)

    def step(
        self, system: Any, x: Any, state: Int[Array, ""], frontier: Int[Array, " B"]
    ) -> tuple[Any, Int[Array, ""], StepInfo]:
        """One linearization, and one scan."""
        linearize = linearization(self.jacobian, self.block_size, self.probes, state)
        trusted = math.sqrt(self.tol) if self.jacobian == "full" else 0.0
        new, here = scan_step(system, x, frontier, linearize, self.tol, trusted)
        sweeps = 1.0 + sweeps_beside(self.jacobian, self.probes, system)
        return new, state + 1, StepInfo(here.residual, here.frontier, 1, sweeps)

    def floats_per_equation(self, features: int) -> int:
        """Working memory of a step, in numbers for each equation and sample."""
        return floats_per_equation(self.jacobian, self.block_size, features)


@dataclass(frozen=True)
class QuasiNewton(Newton):
    """Newton's method with the diagonals of the Jacobians, in O(T D) memory and arithmetic: quasi-DEER.

    (Gonzalez et al., "Towards scalable and stable parallelization of nonlinear RNNs", NeurIPS 2024, arXiv 2407.19115.)
    """

    jacobian: str = "diagonal"


@dataclass(frozen=True)
class Picard(Newton):
    """Newton's method with identities for Jacobians: increments F(x)_t - x_{t-1} summed up from the initial state.

    This is Picard's iteration of an ordinary differential equation in its integral form, taken over to difference
    equations: good where x changes little from one equation to the next, as with small time steps (Shih et al.,
    "Parallel sampling of diffusion models", NeurIPS 2023; as a member of this family: arXiv 2509.21716). It takes no
    derivatives.
    """

    jacobian: str = "identity"
