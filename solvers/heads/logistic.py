"""The logistic distribution as an output distribution: log-likelihood, and sampling from given noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..systems.autoregressive import Noise, check_finite


class LocationScale(NamedTuple):
    """Parameters of a location-scale family, one distribution a value."""

    mean: Float[Array, "S B"]
    log_scale: Float[Array, "S B"]


@dataclass(frozen=True)
class Logistic:
    """The logistic distribution; samples are clamped to [-bound, bound].

    x = mean + exp(log_scale) * logit(u), with the noise ``logistic_noise`` = logit(u), u uniform in (0, 1).
    """

    bound: float = math.inf

    def __post_init__(self) -> None:
        if not self.bound > 0.0:
            raise ValueError(f"bound must be more than 0, not {self.bound}")

    def sample(self, params: LocationScale, noise: Noise) -> Float[Array, "S B"]:
        """Values (size, batch), clamped."""
        return jnp.clip(params.mean + jnp.exp(params.log_scale) * noise["logistic_noise"], -self.bound, self.bound)

    def log_prob(self, params: LocationScale, values: Float[Array, "S B"]) -> Float[Array, "S B"]:
        """Log density: -z - log s - 2 softplus(-z), z = (x - mean) / s, in nats."""
        z = (values - params.mean) * jnp.exp(-params.log_scale)
        return -z - params.log_scale - 2.0 * jax.nn.softplus(-z)

    def draw_noise(self, key: Array, num_equations: int, batch_size: int) -> Noise:
        """Draw the noise of T equations, {"logistic_noise": (T, batch)}."""
        return {"logistic_noise": jax.random.logistic(key, (num_equations, batch_size))}

    def noise_free(self, noise: Noise) -> Noise:
        """Zeros, under which a sample is the mean of its logistic, which is its median and mode too."""
        return {"logistic_noise": jnp.zeros_like(noise["logistic_noise"])}

    def check_noise(self, noise: Noise) -> None:
        """Raise ValueError unless the noise is finite."""
        check_finite(noise)

    def initial_guess(self, noise: Noise) -> Float[Array, "T B"]:
        """Zeros in every equation: mid-gray for images in logit space."""
        return jnp.zeros_like(noise["logistic_noise"])
