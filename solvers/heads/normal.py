"""The normal distribution as an output distribution: the affine step of a normalizing flow, and its likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..systems.autoregressive import Noise, check_finite
from .logistic import LocationScale

_NAME = "normal_noise"


@dataclass(frozen=True)
class Normal:
    """x = mean + exp(log_scale) * z with the noise ``normal_noise`` = z, standard normal; each number by itself.

    Values may be numbers (S, B), or vectors (S, B, P) of ``num_features`` = P numbers.
    """

    num_features: int | None = None

    def sample(self, params: LocationScale, noise: Noise) -> Float[Array, "S B *P"]:
        """Values from means, log-scales and noise."""
        return params.mean + jnp.exp(params.log_scale) * noise[_NAME]

    def standardized(self, params: LocationScale, values: Float[Array, "S B *P"]) -> Float[Array, "S B *P"]:
        """The noise z of which ``sample`` makes the values."""
        return (values - params.mean) * jnp.exp(-params.log_scale)

    def log_prob(self, params: LocationScale, values: Float[Array, "S B *P"]) -> Float[Array, "S B"]:
        """Log density of each value, in nats: sum over its numbers of -z^2 / 2 - log sqrt(2 pi) - log_scale."""
        z = self.standardized(params, values)
        each = -0.5 * z * z - 0.5 * math.log(2.0 * math.pi) - params.log_scale
        return jnp.sum(each.reshape(*each.shape[:2], -1), axis=-1)

    def draw_noise(self, key: Array, num_equations: int, batch_size: int) -> Noise:
        """Draw the noise of T equations, {"normal_noise": (T, batch, P)}."""
        features = () if self.num_features is None else (self.num_features,)
        return {_NAME: jax.random.normal(key, (num_equations, batch_size, *features))}

    def noise_free(self, noise: Noise) -> Noise:
        """Zeros, under which a sample is the mean."""
        return {_NAME: jnp.zeros_like(noise[_NAME])}

    def check_noise(self, noise: Noise) -> None:
        """Raise ValueError unless the noise is finite."""
        check_finite(noise)

    def initial_guess(self, noise: Noise) -> Float[Array, "T B *P"]:
        """The noise itself, which is the answer where means are 0 and scales 1."""
        return noise[_NAME]
