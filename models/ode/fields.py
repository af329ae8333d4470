"""Vector fields: chaotic, damped and contracting ones."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.layers.products import matmul
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class Lorenz63:
    """x' = sigma (y - x), y' = x (rho - z) - y, z' = x y - beta z, a model of convection.

    With sigma 10, rho 28 and beta 8/3 it is chaotic: its largest Lyapunov exponent is about 0.906 per unit of time
    (Lorenz, "Deterministic nonperiodic flow", Journal of the Atmospheric Sciences 20, 1963).
    """

    sigma: Float[Array, ""]
    rho: Float[Array, ""]
    beta: Float[Array, ""]

    def __call__(self, t: Float[Array, "*S"], state: Float[Array, "*S 3"]) -> Float[Array, "*S 3"]:
        """The derivatives of states (x, y, z)."""
        x, y, z = state[..., 0], state[..., 1], state[..., 2]
        return jnp.stack([self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z], axis=-1)


@pytree
@dataclass(frozen=True)
class Pendulum:
    """angle'' = -sin(angle) - damping * angle', in units of the frequency of small swings."""

    damping: Float[Array, ""]

    def __call__(self, t: Float[Array, "*S"], state: Float[Array, "*S 2"]) -> Float[Array, "*S 2"]:
        """The derivatives of states (angle in radians, velocity)."""
        angle, velocity = state[..., 0], state[..., 1]
        return jnp.stack([velocity, -jnp.sin(angle) - self.damping * velocity], axis=-1)


@pytree
@dataclass(frozen=True)
class Contraction:
    """x' = -x + tanh(x) W + a sin(t + p), a driven network of rate neurons.

    Where the largest singular value of W is g < 1, any two solutions approach each other at a rate of at least 1 - g:
    the symmetric part of the Jacobian is at most g - 1 (Lohmiller and Slotine, "On contraction analysis for non-linear
    systems", Automatica 34, 1998). The Jacobian has no eigenvalue beyond 1 + g, so that steps below 1 are stable.
    """

    kernel: Float[Array, "D D"]  # W
    amplitude: Float[Array, " D"]  # a
    phase: Float[Array, " D"]  # p, in radians

    def __call__(self, t: Float[Array, "*S"], x: Float[Array, "*S D"]) -> Float[Array, "*S D"]:
        """The derivatives of states x."""
        return matmul(jnp.tanh(x), self.kernel) - x + self.amplitude * jnp.sin(t[..., None] + self.phase)
