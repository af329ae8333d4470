"""What chains sample from: the logarithms of densities, up to a constant, on all of R^D."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.layers.products import matmul
from solvers.trees.pytree import pytree


@runtime_checkable
class Target(Protocol):
    """A distribution on R^D; ours are registered pytrees, whose leaves are their data."""

    @property
    def num_features(self) -> int:
        """D, static."""

    def log_density(self, x: Float[Array, "*S D"]) -> Float[Array, "*S"]:
        """The logarithms of the densities at states x, up to a constant, and differentiable."""


@pytree
@dataclass(frozen=True)
class LogisticRegression:
    """The posterior of weights w, where class c_n = +-1 has log-odds c_n w . a_n, and w is normal of scale s.

    log p(w) = -sum_n log(1 + exp(-c_n w . a_n)) - |w|^2 / (2 s^2)
    """

    inputs: Float[Array, "N D"]  # a
    classes: Float[Array, " N"]  # c: +1 or -1
    prior_scale: Float[Array, ""]  # s

    @property
    def num_features(self) -> int:
        """The number of weights."""
        return int(self.inputs.shape[1])

    def log_density(self, x: Float[Array, "*S D"]) -> Float[Array, "*S"]:
        """See the class."""
        margins = self.classes * matmul(x, self.inputs.T)
        return jnp.sum(jax.nn.log_sigmoid(margins), axis=-1) - jnp.sum(x**2, axis=-1) / (2 * self.prior_scale**2)


@pytree
@dataclass(frozen=True)
class TwoWell:
    """Two wells at x_0 = -1 and 1 with a barrier of height b between them, and a standard normal in all others.

    log p(x) = -b (x_0^2 - 1)^2 - (x_1^2 + ... + x_{D-1}^2) / 2
    """

    barrier: Float[Array, ""]  # b, in units of temperature
    still: Float[Array, " R"]  # zeros, around which the others lie

    @property
    def num_features(self) -> int:
        """D."""
        return 1 + int(self.still.shape[0])

    def log_density(self, x: Float[Array, "*S D"]) -> Float[Array, "*S"]:
        """See the class."""
        others = x[..., 1:] - self.still
        return -self.barrier * (x[..., 0] ** 2 - 1) ** 2 - jnp.sum(others**2, axis=-1) / 2


@pytree
@dataclass(frozen=True)
class EightSchools:
    """The effects of coaching in several schools, as a hierarchy: x = (m, log t, e_1, ..., e_K).

    The effect m + t e_k of school k was seen as y_k with standard error s_k; m is normal with scale 5, t half-Cauchy
    with scale 5, and e_k standard normal (Rubin, "Estimation in parallel randomized experiments", Journal of
    Educational Statistics 6, 1981; Gelman et al., "Bayesian data analysis", 3rd edition, section 5.5). As t is sampled
    by its logarithm, its density is multiplied by t.
    """

    effects: Float[Array, " K"]  # y
    errors: Float[Array, " K"]  # s

    @property
    def num_features(self) -> int:
        """K + 2."""
        return 2 + int(self.effects.shape[0])

    def log_density(self, x: Float[Array, "*S D"]) -> Float[Array, "*S"]:
        """See the class."""
        mean, log_scale, raw = x[..., 0], x[..., 1], x[..., 2:]
        scale = jnp.exp(log_scale)
        misses = (self.effects - mean[..., None] - scale[..., None] * raw) / self.errors
        prior = -((mean / 5) ** 2) / 2 - jnp.log1p((scale / 5) ** 2) + log_scale - jnp.sum(raw**2, axis=-1) / 2
        return prior - jnp.sum(misses**2, axis=-1) / 2


@pytree
@dataclass(frozen=True)
class Whitened:
    """Another target in other coordinates: z, where x = center + factor z.

    With a factor such that factor factor^T is about the covariance of x, z is about standard normal, and one step size
    suits all directions.
    """

    target: Any  # a Target
    center: Float[Array, " D"]
    factor: Float[Array, "D D"]

    @property
    def num_features(self) -> int:
        """D."""
        return int(self.center.shape[0])

    def log_density(self, x: Float[Array, "*S D"]) -> Float[Array, "*S"]:
        """Those of the target at the states that x stands for; the constant of the factor is left out."""
        result: Array = self.target.log_density(self.outside(x))
        return result

    def outside(self, x: Float[Array, "*S D"]) -> Float[Array, "*S D"]:
        """States in the coordinates of the target."""
        return self.center + matmul(x, self.factor.T)


@pytree
@dataclass(frozen=True)
class Plain:
    """A user's own target that is no pytree, whose data are constants of the programs that are compiled."""

    target: Any = field(metadata={"static": True})  # a Target

    @property
    def num_features(self) -> int:
        """D."""
        return int(self.target.num_features)

    def log_density(self, x: Float[Array, "*S D"]) -> Float[Array, "*S"]:
        """Those of the target."""
        result: Array = self.target.log_density(x)
        return result


def whitened(target: Any, steps: int = 20) -> Whitened:
    """The target around its mode, found by Newton's method from 0, scaled by its curvature there.

    For targets whose log-density is concave; of others Newton's method may end anywhere.
    """
    identity = jnp.eye(target.num_features)

    def body(_: Int[Array, ""], x: Float[Array, " D"]) -> Float[Array, " D"]:
        return x - jnp.linalg.solve(jax.hessian(target.log_density)(x), jax.grad(target.log_density)(x))

    @jax.jit
    def found(target: Any) -> tuple[Array, Array]:
        mode = jax.lax.fori_loop(0, steps, body, jnp.zeros(target.num_features))
        precision = jnp.linalg.cholesky(-jax.hessian(target.log_density)(mode))  # L, and L L^T
        return mode, jax.scipy.linalg.solve_triangular(precision.T, identity, lower=False)

    return Whitened(target, *found(target))
