"""ELK: damped Newton steps, each by a Kalman filter."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..equations import prefix_mask
from ..linear.choices import Linearize
from ..linear.kalman import filter_means
from ..linear.linearize import jacobian_sweeps, jacobians, ravel, unravel
from ..linear.step import accept, linearized
from ..solver import Solver, StepInfo
from ..system import MarkovSystem

_LEAST, _LARGEST = 1e-8, 1e8  # weights: beyond these a step is Newton's, or none, to the accuracy of float32


class TrustState(NamedTuple):
    """The last accepted point of each sample with its linearization, and how far that is trusted."""

    base: Float[Array, "T B D"]
    gap: Float[Array, "T B D"]  # F(base) - base
    matrices: Array  # (T, B, D, D), or diagonals (T, B, D)
    weight: Float[Array, " B"]
    fresh: Bool[Array, ""]  # no point has been accepted yet


@dataclass(frozen=True)
class LevenbergMarquardt(Solver):
    """Newton steps from the last accepted point, damped by a weight that adapts to whether the last step helped.

    The step d minimizes sum_t |d_t - A_t d_{t-1} - (F(x)_t - x_t)|^2 + w |d_t|^2 in the filtering sense: d_t is the
    mean that a Kalman filter has of d_t after the observations 0, with covariance 1/w, of d_0 .. d_t (Gonzalez et al.,
    "Towards scalable and stable parallelization of nonlinear RNNs", NeurIPS 2024, arXiv 2407.19115). With P the
    predicted covariances of that filter,

        d_t = G_t ((F(x)_t - x_t) + A_t d_{t-1}),    G_t = (I + w P_t)^-1,

    which kalman.py computes. A filter reads the past only, a smoother would not: so exact prefixes stay exact.
    """

    requires: ClassVar[type] = MarkovSystem
    initial_weight: float = 1.0
    increase: float = 10.0
    decrease: float = 0.1
    tol: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.initial_weight < math.inf:
            raise ValueError(f"initial_weight must be positive, not {self.initial_weight}; without damping use newton")
        if not 1.0 < self.increase < math.inf:
            raise ValueError(f"increase must be more than 1, not {self.increase}")
        if not 0.0 < self.decrease <= 1.0:
            raise ValueError(f"decrease must be in (0, 1], not {self.decrease}")

    @property
    @abstractmethod
    def linearize(self) -> Linearize:
        """The function that gives the transitions, and the matrices that stand for their Jacobians."""

    @property
    @abstractmethod
    def trusted(self) -> float:
        """The longest step that a sample still takes whose x has met the tolerance; see ``accept``."""

    @abstractmethod
    def blank_matrices(self, blank: Float[Array, "T B D"]) -> Array:
        """Zeros laid out as the matrices are."""

    def init(self, system: Any, x: Any) -> TrustState:
        """A state in which no point has been accepted yet."""
        blank = jnp.zeros_like(ravel(x))
        weight = jnp.full(blank.shape[1], self.initial_weight, blank.dtype)
        return TrustState(blank, blank, self.blank_matrices(blank), weight, jnp.array(True))

    def step(
        self, system: Any, x: Any, state: TrustState, frontier: Int[Array, " B"]
    ) -> tuple[Any, TrustState, StepInfo]:
        """One linearization, which judges the last step, and one filter."""
        here = linearized(system, x, frontier, self.linearize)
        exact = prefix_mask(here.frontier, system.num_equations)
        state = self._judged(state, here.matrices, ravel(x), ravel(here.y), exact)
        # What is known exactly is no step but a correction of the base, on which what follows builds.
        gap = jnp.where(exact[..., None], ravel(here.y) - state.base, state.gap)
        step = filter_means(state.matrices, gap, state.weight, exact)
        new = accept(system, x, unravel(state.base + step, here.y), here, self.tol, self.trusted)
        return new, state, StepInfo(here.residual, here.frontier, 1, 1.0 + jacobian_sweeps(system), here.relative)

    def _judged(
        self,
        state: TrustState,
        found: Array,
        at: Float[Array, "T B D"],
        reached: Float[Array, "T B D"],
        exact: Bool[Array, "T B"],
    ) -> TrustState:
        """Samples whose residual has fallen go on from here with less damping, the others back with more."""
        gap = reached - at
        better = state.fresh | (_merit(gap, exact) < _merit(state.gap, exact))
        weight = state.weight * jnp.where(better, self.decrease, self.increase)
        weight = jnp.where(state.fresh, state.weight, jnp.clip(weight, _LEAST, _LARGEST))

        def take(new: Array, old: Array) -> Array:
            return jnp.where(better.reshape((1, -1) + (1,) * (new.ndim - 2)), new, old)

        return TrustState(
            take(at, state.base), take(gap, state.gap), take(found, state.matrices), weight, jnp.array(False)
        )


@dataclass(frozen=True)
class ELK(LevenbergMarquardt):
    """Levenberg-Marquardt with full Jacobians, by a Kalman filter: in turn on a CPU, by scans on an accelerator.

    ``initial_weight``: the damping w of the first step; a step that lowers the sum of squares of F(x) - x beyond the
    exact prefix is followed by one with w * ``decrease``, any other is taken back and repeated with w * ``increase``,
    for each sample by itself. O(T D^2) memory and O(T D^3) arithmetic a step, several times those of Newton's. It goes
    on where Newton's steps overflow. T steps always suffice.
    """

    @property
    def linearize(self) -> Linearize:
        """The full Jacobians."""
        return jacobians

    @property
    def trusted(self) -> float:
        """As for Newton's method, whose steps these are where the damping has faded."""
        return math.sqrt(self.tol)

    def blank_matrices(self, blank: Float[Array, "T B D"]) -> Float[Array, "T B D D"]:
        """Zeros laid out as full matrices."""
        return jnp.zeros((*blank.shape, blank.shape[-1]), blank.dtype)

    def floats_per_equation(self, features: int) -> int:
        """Working memory of a step, in numbers for each equation and sample."""
        return 8 * features**2 + 16 * features


def _merit(gap: Float[Array, "T B D"], exact: Bool[Array, "T B"]) -> Float[Array, " B"]:
    """Sum |F(x) - x|^2 beyond the exact prefix; infinite where it is not a number."""
    total = jnp.sum(jnp.where(exact[..., None], 0.0, gap) ** 2, axis=(0, 2))
    return jnp.where(jnp.isfinite(total), total, jnp.inf)
