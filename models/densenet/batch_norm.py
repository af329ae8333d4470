"""Batch normalization: with the statistics of the batch in training, with running averages of them afterwards."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

EPSILON = 1e-5
MOMENTUM = 0.1  # the weight of a new batch in the running statistics


class Moments(NamedTuple):
    """Statistics of a batch, by channel."""

    mean: Float[Array, " C"]
    var: Float[Array, " C"]  # the mean of squared deviations
    unbiased: Float[Array, " C"]  # their sum over one less than their number


class Seen(NamedTuple):
    """Features as norms read them, of whom several can share the work.

    In training they are standardized, (x - mean) / sqrt(var + 1e-5), by the batch's moments; else they are as they are.
    """

    values: Float[Array, "*S C"]
    moments: Moments | None

    @classmethod
    def of(cls, x: Float[Array, "*S C"], *, training: bool) -> Seen:
        """The features x with the moments that norms in training need."""
        if not training:
            return cls(x, None)
        axes = tuple(range(x.ndim - 1))
        mean = jnp.mean(x, axes)
        var = jnp.mean(jnp.square(x - mean), axes)
        count = x.size // x.shape[-1]
        return cls((x - mean) * lax.rsqrt(var + EPSILON), Moments(mean, var, var * (count / max(1, count - 1))))

    def beside(self, other: Seen) -> Seen:
        """The channels of both, these before the other's."""
        joined: Seen = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=-1), self, other)
        return joined


class BatchNorm(nnx.Module):
    """y = scale * (x - mean) / sqrt(var + 1e-5) + bias, by channel, the last axis.

    Ioffe, Szegedy, "Batch Normalization", ICML 2015 (arXiv 1502.03167). flax's ``train()`` and ``eval()`` choose: the
    batch's statistics, which move the running ones, or the running ones.
    """

    def __init__(self, channels: int) -> None:
        """The identity on channels of mean 0 and variance 1; running statistics are used."""
        self.use_running_average = True
        # Through numpy: jax would compile a program for every width.
        self.scale = nnx.Param(jnp.asarray(np.ones(channels, np.float32)))
        self.bias = nnx.Param(jnp.asarray(np.zeros(channels, np.float32)))
        self.mean = nnx.BatchStat(jnp.asarray(np.zeros(channels, np.float32)))
        self.var = nnx.BatchStat(jnp.asarray(np.ones(channels, np.float32)))

    def __call__(self, x: Float[Array, "*S C"]) -> Float[Array, "*S C"]:
        """Normalize x, by channel."""
        return self.read(Seen.of(x, training=not self.use_running_average))

    def read(self, seen: Seen) -> Float[Array, "*S C"]:
        """Features, normalized; in training the running statistics move, the variance's by the unbiased one."""
        if seen.moments is None:
            scale, shift = self.folded()
            return seen.values * scale + shift
        mean, unbiased = lax.stop_gradient((seen.moments.mean, seen.moments.unbiased))
        self.mean[...] = (1.0 - MOMENTUM) * self.mean[...] + MOMENTUM * mean
        self.var[...] = (1.0 - MOMENTUM) * self.var[...] + MOMENTUM * unbiased
        return seen.values * self.scale[...] + self.bias[...]

    def folded(self) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
        """(scale, shift) with the running statistics: y = x * scale + shift."""
        scale = self.scale[...] * lax.rsqrt(self.var[...] + EPSILON)
        return scale, self.bias[...] - self.mean[...] * scale
