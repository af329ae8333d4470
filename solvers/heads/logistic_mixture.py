"""The output distribution of PixelCNN++: a mixture of logistics for a whole pixel, discretized to 8 bits.

Salimans et al., "PixelCNN++", ICLR 2017 (arXiv 1701.05517), sections 2.1 and 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..systems.autoregressive import Noise

HALF_BIN = 1.0 / 255.0  # half the distance of neighbouring 8-bit values, 2 / 255, on [-1, 1]
LOWEST_LOG_SCALE = -7.0
LOWEST_U = 1e-5  # noise is drawn from [LOWEST_U, 1 - LOWEST_U]

Component = Literal["gumbel", "inverse_cdf"]


class Mixture(NamedTuple):
    """M logistics for each of C channels, and what their means take from the channels before.

    Green's mean adds coefficients[0] * red, blue's coefficients[1] * red + coefficients[2] * green.
    """

    logits: Float[Array, "S B M"]
    means: Float[Array, "S B C M"]
    log_scales: Float[Array, "S B C M"]
    coefficients: Float[Array, "S B C M"] | None  # None for gray


@dataclass(frozen=True)
class DiscretizedLogisticMixture:
    """A pixel of 1 or 3 channels on [-1, 1] (p / 127.5 - 1), its channels sharing one mixture component.

    The network's outputs of a pixel, K = 3 M for gray, 10 M for RGB: logits, then for every channel M means, M
    log_scales (at least -7 is used) and, for RGB, M coefficients before their tanh.

    With temperature t the mixture's logits are divided by t and every scale is multiplied by t, for samples and
    likelihoods alike; 1 is the distribution as trained.

    ``component`` names the way from noise to samples; the distribution is the same. ``gumbel``, as published, picks a
    component and jumps where another one takes over. ``inverse_cdf`` has no component: a channel is the quantile of the
    whole mixture, continuous in the noise and in the parameters.
    """

    num_channels: int
    num_mixtures: int
    component: Component = "gumbel"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.num_channels not in (1, 3):
            raise ValueError(f"num_channels must be 1 (gray) or 3 (RGB), not {self.num_channels}")
        if self.num_mixtures < 1:
            raise ValueError(f"num_mixtures must be at least 1, not {self.num_mixtures}")
        if self.component not in get_args(Component):
            raise ValueError(f"component must be one of {', '.join(get_args(Component))}, not {self.component!r}")
        if not 0.0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be a positive finite number, not {self.temperature}")

    @property
    def num_params(self) -> int:
        """The number of the network's outputs for a pixel, K."""
        return (3 if self.num_channels == 1 else 10) * self.num_mixtures

    def log_prob(self, params: Float[Array, "S B K"], values: Float[Array, "S B C"]) -> Float[Array, "S B"]:
        """Log probability, in nats, of the 8-bit pixel, all channels together.

        log sum_k w_k prod_c (sigmoid((x_c + h - m_kc) / s_kc) - sigmoid((x_c - h - m_kc) / s_kc)), h = 1/255, where the
        bins of -1 and 1 reach to infinity. A value between two 8-bit ones gets the bin of that width around it.
        """
        mixture = self._unpack(params)
        previous = [values[..., c, None] for c in range(self.num_channels)]
        means = jnp.stack([_mean(mixture, c, previous) for c in range(self.num_channels)], axis=-2)
        x = values[..., None]
        log_bins = _log_bin(x - means, mixture.log_scales, x < HALF_BIN - 1.0, x > 1.0 - HALF_BIN)
        return jax.nn.logsumexp(jax.nn.log_softmax(mixture.logits) + jnp.sum(log_bins, axis=-2), axis=-1)

    def sample(self, params: Float[Array, "S B K"], noise: Noise) -> Float[Array, "S B C"]:
        """Values in [-1, 1], not rounded to 8 bits, from noise of the same pixels; red, green, blue in this order.

        ``gumbel``: the component is argmax_k (logit_k - log(-log u_k)) with u = ``mixture_u`` (S, B, M), and a channel
        is its mean + s * logit(u) with u = ``logistic_u`` (S, B, C).

        ``inverse_cdf``: a channel is the x where sum_k w_k sigmoid((x - m_k) / s_k) = u, with u = ``logistic_u`` and w
        the components' posterior given the channels before.

        Channels are clamped to [-1, 1] before the next one's mean reads them; posteriors take them as they were, which
        is why both forms have the same distribution, clamped colours included.
        """
        mixture = self._unpack(params)
        u = noise["logistic_u"]
        if self.component == "inverse_cdf":
            return _sample_by_quantile(mixture, u)
        winner = jnp.argmax(mixture.logits - jnp.log(-jnp.log(noise["mixture_u"])), axis=-1)
        chosen = _one_hot(winner, self.num_mixtures)
        one = jax.tree.map(lambda a: _select(chosen, a)[..., None], mixture)
        steps = jnp.exp(one.log_scales) * _logit(u)[..., None]
        x: list[Array] = []
        for c in range(self.num_channels):
            x.append(jnp.clip(_mean(one, c, x) + steps[..., c, :], -1.0, 1.0))
        return jnp.concatenate(x, axis=-1)

    @partial(jax.jit, static_argnums=(0, 2, 3))  # one program, where each of its operations would be one
    def draw_noise(self, key: Array, num_equations: int, batch_size: int) -> Noise:
        """Draw {"mixture_u": (T, batch, M), "logistic_u": (T, batch, C)}, uniform in [1e-5, 1 - 1e-5].

        ``inverse_cdf`` has ``logistic_u`` alone.
        """
        sizes = self._noise_sizes
        keys = jax.random.split(key, len(sizes))
        return {
            name: jax.random.uniform(k, (num_equations, batch_size, size), minval=LOWEST_U, maxval=1.0 - LOWEST_U)
            for k, (name, size) in zip(keys, sizes.items(), strict=True)
        }

    def noise_free(self, noise: Noise) -> Noise:
        """One half everywhere, which leaves the middle of the distribution.

        ``gumbel``: each channel is the mean of the likeliest component. ``inverse_cdf``: it is the median of the
        mixture, given the channels before.
        """
        return {name: jnp.full_like(noise[name], 0.5) for name in self._noise_sizes}

    def check_noise(self, noise: Noise) -> None:
        """Raise ValueError if an array is missing, or holds anything outside (0, 1); traced arrays pass unread."""
        for name in self._noise_sizes:
            if name not in noise:
                raise ValueError(f"noise must hold {name!r}; it holds {', '.join(map(repr, noise)) or 'nothing'}")
            if isinstance(noise[name], jax.core.Tracer):
                continue
            array = np.asarray(noise[name])
            outside = array[~((array > 0.0) & (array < 1.0))]
            if outside.size:
                raise ValueError(f"noise {name!r} must lie between 0 and 1, both excluded; it holds {outside[0]}")

    def initial_guess(self, noise: Noise) -> Float[Array, "T B C"]:
        """Zeros in every equation: mid-gray."""
        return jnp.zeros_like(noise["logistic_u"])

    @property
    def _noise_sizes(self) -> dict[str, int]:
        """How many numbers each array of noise holds for a pixel."""
        logistic = {"logistic_u": self.num_channels}
        return logistic if self.component == "inverse_cdf" else {"mixture_u": self.num_mixtures, **logistic}

    def _unpack(self, params: Float[Array, "S B K"]) -> Mixture:
        """The network's outputs by name, the temperature applied."""
        size = self.num_mixtures
        if params.shape[-1] != self.num_params:
            raise ValueError(
                f"params must hold {self.num_params} numbers a pixel for {self.num_channels} channels of {size} "
                f"mixture components, not {params.shape[-1]}"
            )
        parts = params[..., size:].reshape(*params.shape[:-1], self.num_channels, -1, size)
        return Mixture(
            logits=params[..., :size] / self.temperature,
            means=parts[..., 0, :],
            log_scales=jnp.maximum(parts[..., 1, :], LOWEST_LOG_SCALE) + math.log(self.temperature),
            coefficients=jnp.tanh(parts[..., 2, :]) if self.num_channels == 3 else None,
        )


def _mean(mixture: Mixture, channel: int, previous: list[Array]) -> Float[Array, "S B M"]:
    """Means of a channel, given the values of those before it, each (S, B, 1)."""
    mean = mixture.means[..., channel, :]
    for source, coefficient in {0: (), 1: ((0, 0),), 2: ((0, 1), (1, 2))}[channel]:
        assert mixture.coefficients is not None
        mean = mean + mixture.coefficients[..., coefficient, :] * previous[source]
    return mean


def _one_hot(index: Int[Array, "S B"], size: int) -> Bool[Array, "S B M"]:
    return index[..., None] == jnp.arange(size)


def _select(chosen: Bool[Array, "S B M"], a: Float[Array, "S B *C M"]) -> Float[Array, "S B *C"]:
    """The entries of the chosen component, by a masked sum, which costs less than a gather."""
    mask = chosen if a.ndim == chosen.ndim else chosen[..., None, :]
    return jnp.sum(jnp.where(mask, a, 0.0), axis=-1)


def _log_bin(
    centred: Float[Array, "S B C M"],
    log_scales: Float[Array, "S B C M"],
    lowest: Bool[Array, "S B C 1"],
    highest: Bool[Array, "S B C 1"],
) -> Float[Array, "S B C M"]:
    """Log of a logistic's mass on [centred - h, centred + h], open below in the lowest and above in the highest bin.

    With a and b the ends over the scale, sigmoid(b) - sigmoid(a) = sigmoid(-a) sigmoid(b) (1 - exp(a - b)), where
    b - a = 2 h / s is known without a difference: no cancellation, nothing to fall back to, finite gradients. The
    lowest bin is sigmoid(b), the highest sigmoid(-a). One logarithm takes it all, as log sigmoid(-a) = -max(a, 0) -
    log(1 + exp(-|a|)).
    """
    inverse = jnp.exp(-log_scales)
    a = (centred - HALF_BIN) * inverse
    b = (centred + HALF_BIN) * inverse
    width = jnp.maximum(2.0 * HALF_BIN * inverse, 1e-30)  # so that the logarithm is finite for every scale
    inside = jnp.where(lowest | highest, 1.0, -jnp.expm1(-width))
    from_a = jnp.where(lowest, 1.0, 1.0 + jnp.exp(-jnp.abs(a)))
    from_b = jnp.where(highest, 1.0, 1.0 + jnp.exp(-jnp.abs(b)))
    linear = jnp.where(lowest, 0.0, jnp.maximum(a, 0.0)) + jnp.where(highest, 0.0, jnp.maximum(-b, 0.0))
    return jnp.log(inside / (from_a * from_b)) - linear


def _logit(u: Array) -> Array:
    return jnp.log(u) - jnp.log1p(-u)


def _log_density(z: Array) -> Array:
    """The logarithm of the standard logistic's density."""
    return -jnp.abs(z) - 2.0 * jnp.log1p(jnp.exp(-jnp.abs(z)))


def _mixture_cdf(x: Array, weights: Array, means: Array, scales: Array) -> Float[Array, "S B 1"]:
    return jnp.sum(weights * jax.nn.sigmoid((x - means) / scales), axis=-1, keepdims=True)


def _quantile(
    u: Float[Array, "S B 1"],
    weights: Float[Array, "S B M"],
    means: Float[Array, "S B M"],
    scales: Float[Array, "S B M"],
) -> Float[Array, "S B 1"]:
    """The x at which a mixture of logistics has the cumulative probability u, by bisection.

    It lies between the components' own quantiles. Halving as often as the float has bits, and 8 times more for a wide
    bracket, leaves rounding. Its derivatives are those of the equation cdf(x) = u (bisection itself has none).
    """
    still = lax.stop_gradient((u, weights, means, scales))

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        beyond = _mixture_cdf(middle, *still[1:]) < still[0]
        return jnp.where(beyond, middle, low), jnp.where(beyond, high, middle)

    quantiles = still[2] + still[3] * _logit(still[0])
    bracket = jnp.min(quantiles, axis=-1, keepdims=True), jnp.max(quantiles, axis=-1, keepdims=True)
    low, high = lax.fori_loop(0, jnp.finfo(quantiles.dtype).nmant + 8, halve, bracket)
    x = 0.5 * (low + high)

    density = jnp.sum(still[1] * jnp.exp(_log_density((x - still[2]) / still[3])) / still[3], axis=-1, keepdims=True)
    excess = _mixture_cdf(x, weights, means, scales) - u
    # Adds zero, and the implicit function's derivative.
    return x - (excess - lax.stop_gradient(excess)) / jnp.maximum(density, 1e-30)


def _sample_by_quantile(mixture: Mixture, u: Float[Array, "S B C"]) -> Float[Array, "S B C"]:
    """Samples whose channels are the quantiles u, each of its mixture given the channels before."""
    log_weights = mixture.logits
    x: list[Array] = []
    for c in range(mixture.means.shape[-2]):
        mean, log_scale = _mean(mixture, c, x), mixture.log_scales[..., c, :]
        scale = jnp.exp(log_scale)
        free = _quantile(u[..., c, None], jax.nn.softmax(log_weights), mean, scale)
        x.append(jnp.clip(free, -1.0, 1.0))
        log_weights += _log_density((free - mean) / scale) - log_scale
    return jnp.concatenate(x, axis=-1)
