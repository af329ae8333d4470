"""Categorical output distributions, sampled by argmax or by Gumbel noise. Values are class ids."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..systems.autoregressive import Noise, check_finite

_NAME = "gumbel_noise"


@dataclass(frozen=True)
class Argmax:
    """The likeliest class, whatever the noise: greedy sampling.

    Its noise is ``gumbel_noise`` (T, batch, 0): none, but it tells how many samples of what length are wanted.
    """

    num_classes: int

    def sample(self, params: Float[Array, "S B K"], noise: Noise) -> Int[Array, "S B"]:
        """Class ids from logits; the first of several that are equally likely."""
        return jnp.argmax(params, axis=-1).astype(jnp.int32)

    def log_prob(self, params: Float[Array, "S B K"], values: Int[Array, "S B"]) -> Float[Array, "S B"]:
        """Log-probability of each class id under softmax(logits), in nats."""
        return _log_prob(params, values)

    def draw_noise(self, key: Array, num_equations: int, batch_size: int) -> Noise:
        """The noise of T equations, {"gumbel_noise": (T, batch, 0)}: no numbers."""
        return self.noise_at(key, jnp.arange(num_equations), batch_size)

    def noise_at(self, key: Array, times: Int[Array, " S"], batch_size: int) -> Noise:
        """The noise of these equations: no numbers."""
        return {_NAME: jnp.zeros((times.shape[0], batch_size, 0))}

    def noise_free(self, noise: Noise) -> Noise:
        """The noise as it is: every sample is the likeliest class."""
        return noise

    def check_noise(self, noise: Noise) -> None:
        """Nothing to check: its noise holds no numbers."""

    def initial_guess(self, noise: Noise) -> Int[Array, "T B"]:
        """The middle class, which is silence."""
        return _middle(self.num_classes, noise)


@dataclass(frozen=True)
class Gumbel:
    """argmax(logits + temperature * g), Gumbel noise g = -log(-log u): a draw from softmax(logits / temperature)."""

    num_classes: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be more than 0 (argmax is a head of its own), not {self.temperature}")

    def sample(self, params: Float[Array, "S B K"], noise: Noise) -> Int[Array, "S B"]:
        """Class ids (size, batch) from logits, drawn by the noise."""
        return jnp.argmax(params + self.temperature * noise[_NAME], axis=-1).astype(jnp.int32)

    def log_prob(self, params: Float[Array, "S B K"], values: Int[Array, "S B"]) -> Float[Array, "S B"]:
        """Log-probability of each class id under softmax(logits / temperature), in nats."""
        return _log_prob(params / self.temperature, values)

    def draw_noise(self, key: Array, num_equations: int, batch_size: int) -> Noise:
        """Draw the noise of T equations, {"gumbel_noise": (T, batch, classes)}."""
        return self.noise_at(key, jnp.arange(num_equations), batch_size)

    def noise_at(self, key: Array, times: Int[Array, " S"], batch_size: int) -> Noise:
        """The noise of these equations: a function of the key and the equation's number, wherever a call begins."""
        keys = jax.vmap(lambda time: jax.random.fold_in(key, time))(times)
        return {_NAME: jax.vmap(lambda one: jax.random.gumbel(one, (batch_size, self.num_classes)))(keys)}

    def noise_free(self, noise: Noise) -> Noise:
        """Zeros, under which a sample is the mode of its distribution, the likeliest class."""
        return {_NAME: jnp.zeros_like(noise[_NAME])}

    def initial_guess(self, noise: Noise) -> Int[Array, "T B"]:
        """The middle class, which is silence."""
        return _middle(self.num_classes, noise)

    def check_noise(self, noise: Noise) -> None:
        """Raise ValueError unless the noise is finite."""
        check_finite(noise)


def _log_prob(logits: Float[Array, "S B K"], values: Int[Array, "S B"]) -> Float[Array, "S B"]:
    chosen = jnp.take_along_axis(logits, values[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def _middle(num_classes: int, noise: Noise) -> Int[Array, "T B"]:
    return jnp.full(noise[_NAME].shape[:2], num_classes // 2, jnp.int32)
