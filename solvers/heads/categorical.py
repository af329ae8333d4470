"""Categorical output distributions, sampled by argmax, by Gumbel noise or by quantiles. Values are class ids.

The latter two draw from the same distribution and couple it to noise in different ways, so that parallel solvers, which
keep the noise while the logits settle, take different numbers of steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..systems.autoregressive import Noise, check_finite

_NAME, _UNIFORM = "gumbel_noise", "uniform_u"


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
class Drawn:
    """softmax(logits / temperature) of the classes that are kept: the ``top_k`` likeliest, and of those ``top_p``.

    ``top_p`` keeps the likeliest classes whose probabilities together reach it (Holtzman et al., "The curious case of
    neural text degeneration", ICLR 2020, arXiv 1904.09751). None keeps all of them.
    """

    num_classes: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be more than 0 (argmax is a head of its own), not {self.temperature}")
        if self.top_k is not None and not 1 <= self.top_k <= self.num_classes:
            raise ValueError(f"top_k must be from 1 to the number of classes, {self.num_classes}, not {self.top_k}")
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must be more than 0 and at most 1, not {self.top_p}")

    def scaled(self, params: Float[Array, "S B K"]) -> Float[Array, "S B K"]:
        """Logits divided by the temperature, those of classes that are not kept at minus infinity."""
        logits = params / self.temperature
        if self.top_k is not None:
            least = lax.top_k(logits, self.top_k)[0][..., -1:]
            logits = jnp.where(logits < least, -jnp.inf, logits)
        if self.top_p is not None and self.top_p < 1.0:
            ordered = -jnp.sort(-logits, axis=-1)
            shares = jax.nn.softmax(ordered, axis=-1)
            kept = jnp.cumsum(shares, axis=-1) - shares < self.top_p  # before it, less than that is reached
            least = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
            logits = jnp.where(logits < least, -jnp.inf, logits)
        return logits

    def log_prob(self, params: Float[Array, "S B K"], values: Int[Array, "S B"]) -> Float[Array, "S B"]:
        """Log-probability of each class id under the distribution that is drawn from, in nats."""
        return _log_prob(self.scaled(params), values)


@dataclass(frozen=True)
class Gumbel(Drawn):
    """argmax(logits / temperature + g), Gumbel noise g = -log(-log u), over the classes that are kept."""

    def sample(self, params: Float[Array, "S B K"], noise: Noise) -> Int[Array, "S B"]:
        """Class ids (size, batch) from logits, drawn by the noise."""
        if self.top_k is None and self.top_p is None:
            drawn = params + self.temperature * noise[_NAME]
        else:
            drawn = self.scaled(params) + noise[_NAME]
        return jnp.argmax(drawn, axis=-1).astype(jnp.int32)

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


@dataclass(frozen=True)
class InverseCDF(Drawn):
    """The first class at which the probabilities summed up in the order of ids pass u, uniform from 0 to 1.

    The noise is one number, ``uniform_u`` (T, batch). Of classes in an order, such as levels of sound, the id changes
    by little where logits do.
    """

    def sample(self, params: Float[Array, "S B K"], noise: Noise) -> Int[Array, "S B"]:
        """Class ids (size, batch) from logits, drawn by the noise."""
        shares = jax.nn.softmax(self.scaled(params), axis=-1)
        passed = jnp.cumsum(shares, axis=-1) <= noise[_UNIFORM][..., None] * jnp.sum(shares, axis=-1, keepdims=True)
        # Rounding may leave the last sum below u; then it is the last class that there is.
        last = self.num_classes - 1 - jnp.argmax(shares[..., ::-1] > 0.0, axis=-1)
        return jnp.minimum(jnp.sum(passed, axis=-1), last).astype(jnp.int32)

    def draw_noise(self, key: Array, num_equations: int, batch_size: int) -> Noise:
        """Draw the noise of T equations, {"uniform_u": (T, batch)}."""
        return self.noise_at(key, jnp.arange(num_equations), batch_size)

    def noise_at(self, key: Array, times: Int[Array, " S"], batch_size: int) -> Noise:
        """The noise of these equations: a function of the key and the equation's number, wherever a call begins."""
        keys = jax.vmap(lambda time: jax.random.fold_in(key, time))(times)
        return {_UNIFORM: jax.vmap(lambda one: jax.random.uniform(one, (batch_size,)))(keys)}

    def noise_free(self, noise: Noise) -> Noise:
        """One half, under which a sample is the median of the class ids."""
        return {_UNIFORM: jnp.full_like(noise[_UNIFORM], 0.5)}

    def initial_guess(self, noise: Noise) -> Int[Array, "T B"]:
        """The middle class, which is silence."""
        return jnp.full(noise[_UNIFORM].shape, self.num_classes // 2, jnp.int32)

    def check_noise(self, noise: Noise) -> None:
        """Raise ValueError unless the noise is from 0 to 1; traced arrays pass unread."""
        check_finite(noise)
        u = noise[_UNIFORM]
        if not isinstance(u, jax.core.Tracer) and not bool(jnp.all((u >= 0.0) & (u <= 1.0))):
            raise ValueError(f"{_UNIFORM} should be from 0 to 1")


def _log_prob(logits: Float[Array, "S B K"], values: Int[Array, "S B"]) -> Float[Array, "S B"]:
    chosen = jnp.take_along_axis(logits, values[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def _middle(num_classes: int, noise: Noise) -> Int[Array, "T B"]:
    return jnp.full(noise[_NAME].shape[:2], num_classes // 2, jnp.int32)
