"""How a chain proposes its next state from normal numbers z, and how likely it is to take it.

Each leaves its target as it is: min(1, exp(log ratio)) is the probability of acceptance (Metropolis et al., "Equation
of state calculations by fast computing machines", Journal of Chemical Physics 21, 1953; Hastings, Biometrika 57, 1970).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int
from pydantic import Field

from models.problem import Count, Positive


@dataclass(frozen=True)
class Kernel(ABC):
    """A kernel as its options: hashable, and static under jit."""

    step_size: Positive  # h, in units of the target's coordinates

    @abstractmethod
    def propose(
        self, target: Any, x: Float[Array, "*S D"], z: Float[Array, "*S D"]
    ) -> tuple[Float[Array, "*S D"], Float[Array, "*S"]]:
        """Proposals from states x, and the logarithms of the ratios that acceptance hangs on."""

    @property
    @abstractmethod
    def normal_slope(self) -> float:
        """The derivative of a proposal with respect to the state, were the target standard normal."""


@dataclass(frozen=True)
class RandomWalk(Kernel):
    """x' = x + h z."""

    step_size: Positive = 0.4

    def propose(self, target: Any, x: Any, z: Any) -> tuple[Any, Any]:
        """See the class; the ratio is that of the densities."""
        proposal = x + self.step_size * z
        return proposal, target.log_density(proposal) - target.log_density(x)

    @property
    def normal_slope(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class MALA(Kernel):
    """x' = x + h^2/2 grad log p(x) + h z (Roberts and Tweedie, Bernoulli 2, 1996)."""

    step_size: Positive = 0.7

    def propose(self, target: Any, x: Any, z: Any) -> tuple[Any, Any]:
        """See the class; the ratio takes in that a step back is not as likely as the step."""
        h = self.step_size
        here, slope = _with_gradient(target, x)
        proposal = x + h**2 / 2 * slope + h * z
        there, slope_there = _with_gradient(target, proposal)
        back = (x - proposal - h**2 / 2 * slope_there) / h
        return proposal, there - here + jnp.sum(z**2 - back**2, axis=-1) / 2

    @property
    def normal_slope(self) -> float:
        """1 - h^2 / 2."""
        return 1.0 - self.step_size**2 / 2


@dataclass(frozen=True)
class HMC(Kernel):
    """A path of L leapfrog steps of size h with first momentum z (Duane et al., Physics Letters B 195, 1987)."""

    step_size: Positive = 0.3
    leapfrog_steps: Annotated[Count, Field(le=1000)] = 5  # L

    def propose(self, target: Any, x: Any, z: Any) -> tuple[Any, Any]:
        """See the class; the ratio is that of the densities of state and momentum."""
        h = self.step_size
        here, slope = _with_gradient(target, x)

        def leap(_: Int[Array, ""], path: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
            state, momentum, slope, _ = path
            momentum = momentum + h / 2 * slope
            state = state + h * momentum
            value, slope = _with_gradient(target, state)
            return state, momentum + h / 2 * slope, slope, value

        proposal, momentum, _, there = lax.fori_loop(0, self.leapfrog_steps, leap, (x, z, slope, here))
        return proposal, there - here + jnp.sum(z**2 - momentum**2, axis=-1) / 2

    @property
    def normal_slope(self) -> float:
        """T_L(1 - h^2 / 2), Chebyshev's polynomial."""
        before, now = 1.0, 1.0 - self.step_size**2 / 2
        for _ in range(self.leapfrog_steps - 1):
            before, now = now, 2 * (1.0 - self.step_size**2 / 2) * now - before
        return now


def _with_gradient(target: Any, x: Float[Array, "*S D"]) -> tuple[Float[Array, "*S"], Float[Array, "*S D"]]:
    """The log-densities and their gradients."""
    values, pull = jax.vjp(target.log_density, x)
    (slope,) = pull(jnp.ones_like(values))
    return values, slope
