"""Noise for given pixels, drawn from its distribution given that the mixture of logistics makes these of it.

The way back from samples to noise: a check of ``sample`` against ``log_prob`` by the noise's own distribution.
"""

import math

import jax
import jax.numpy as jnp

from solvers.heads import logistic_mixture as mixtures
from solvers.heads.logistic_mixture import LOWEST_U

HIGHEST_U = 1.0 - LOWEST_U


def inverted(head, params, values, key):
    """Noise for which ``head.sample`` gives these values, drawn from its distribution given that it does.

    The component is drawn from its posterior. Where values were clamped, how far beyond the end they had been is drawn
    too. In the Gumbel form, the Gumbels are drawn given that this component has the largest (Maddison, Tarlow, Minka,
    "A* Sampling", NIPS 2014, arXiv 1411.0030).

    Noise stays within [1e-5, 1 - 1e-5]: a value further out than this noise reaches is reproduced only as near as the
    range allows, and components that reach it are preferred to those that do not. Rounding of u moves a value by about
    1e-7 / density, the more the less likely the value is.
    """
    mixture = head._unpack(params)
    ends_key, mixture_key = jax.random.split(key)
    score, u, free = explained(mixture, values, ends_key)
    if head.component == "gumbel":
        chosen, mixture_u = drawn_argmax(mixture.logits, score, mixture_key)
        return {"mixture_u": mixture_u, "logistic_u": mixtures._select(chosen, u)}
    chosen = mixtures._one_hot(jax.random.categorical(mixture_key, score), head.num_mixtures)
    return {"logistic_u": quantiles_of(mixture, mixtures._select(chosen, free))}


def quantiles_of(mixture, free):
    """The u of each channel, given the channels before as they are reached."""
    log_weights, x, u = mixture.logits, [], []
    for c in range(free.shape[-1]):
        mean, log_scale = mixtures._mean(mixture, c, x), mixture.log_scales[..., c, :]
        scale, weights = jnp.exp(log_scale), jax.nn.softmax(log_weights)
        cdf = mixtures._mixture_cdf(free[..., c, None], weights, mean, scale)
        u.append(jnp.clip(cdf, LOWEST_U, HIGHEST_U))
        reached = mixtures._quantile(u[c], weights, mean, scale)
        x.append(jnp.clip(reached, -1.0, 1.0))
        log_weights += mixtures._log_density((reached - mean) / scale) - log_scale
    return jnp.concatenate(u, axis=-1)


def explained(mixture, values, key):
    """How each component would give the values: log posterior, ``logistic_u``, and the values before their clamp.

    At -1 and 1 the u of a component is uniform over all that end there, and the value beyond the end is the one of this
    u. The log posterior of a component that misses the values, because u is confined, is lowered by how far it does.
    """
    beyond = jax.random.uniform(key, values.shape, values.dtype)[..., None]
    score = jax.nn.log_softmax(mixture.logits)
    u, free, reached = [], [], []  # reached: each component's own value
    for c in range(values.shape[-1]):
        x, v, log_scale = values[..., c, None], beyond[..., c, :], mixture.log_scales[..., c, :]
        inside = jnp.abs(x) < 1.0
        mean, scale = mixtures._mean(mixture, c, reached), jnp.exp(log_scale)
        z = (x - mean) / scale
        score += jnp.where(inside, mixtures._log_density(z) - log_scale, jax.nn.log_sigmoid(-x * z))

        at_x = jnp.clip(jax.nn.sigmoid(z), LOWEST_U, HIGHEST_U)
        above, below = at_x + v * (HIGHEST_U - at_x), LOWEST_U + v * (at_x - LOWEST_U)
        u.append(jnp.where(inside, at_x, jnp.where(x > 0.0, above, below)))
        value = mean + scale * mixtures._logit(u[c])
        free.append(jnp.where(inside, x, x * jnp.maximum(x * value, 1.0)))
        reached.append(jnp.clip(value, -1.0, 1.0))
        score -= 1e6 * jnp.maximum(jnp.abs(reached[c] - x) - 1e-5, 0.0)
    return score, jnp.stack(u, axis=-2), jnp.stack(free, axis=-2)


def drawn_argmax(logits, score, key):
    """A component from softmax(score), one-hot, and u with argmax(logits - log(-log u)) at it.

    With e = -log u, the argmax is that of w / e, w = softmax(logits): the first of exponential clocks with rates w. Its
    time is exponential with rate 1 whichever clock it is, and the others run on from there without memory:
    e_j = w_j time + an exponential.
    """
    choice_key, first_key, others_key = jax.random.split(key, 3)
    log_weights = jax.nn.log_softmax(logits)
    shortest, longest = -math.log1p(-LOWEST_U), -math.log(LOWEST_U)  # e at the ends of u's range
    behind = jnp.max(log_weights, axis=-1, keepdims=True) - log_weights
    can_win = behind < math.log(longest / shortest) - 0.01
    score = jnp.where(can_win, score, -jnp.inf)
    chosen = mixtures._one_hot(jax.random.categorical(choice_key, score), logits.shape[-1])

    log_weight = mixtures._select(chosen, log_weights)[..., None]
    time = jnp.minimum(jax.random.exponential(first_key, log_weight.shape, logits.dtype), longest - 0.5)
    winner = jnp.clip(jnp.exp(-jnp.exp(log_weight) * time), LOWEST_U, HIGHEST_U)
    # From the winner's u as rounded, and a little later, so that rounding cannot change the winner.
    rate = jnp.where(chosen, 0.0, jnp.exp(log_weights - log_weight))
    later = 1e-6 + jax.random.exponential(others_key, logits.shape, logits.dtype)
    others = jnp.clip(jnp.exp(-(1.0001 * rate * -jnp.log(winner) + later)), LOWEST_U, HIGHEST_U)
    return chosen, jnp.where(chosen, winner, others)
