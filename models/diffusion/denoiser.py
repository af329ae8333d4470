"""The network of a diffusion model in the inference form: a transformer over patches, told a time and a class."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from models.transformer.layer import Modulation, wide
from models.transformer.trunk import Trunk
from solvers.trees.pytree import pytree

Affine: TypeAlias = tuple[Float[Array, "_ _"], Float[Array, " _"]]

WAVES = 64  # numbers that tell a time
_FASTEST = 1000.0  # radians from time 0 to 1


def waves(time: Float[Array, " N"]) -> Float[Array, "N W"]:
    """Sines and cosines of a time from 0 to 1, from slow to fast."""
    speeds = jnp.exp(jnp.linspace(0.0, math.log(_FASTEST), WAVES // 2))
    angles = time[:, None] * speeds
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


@pytree
@dataclass(frozen=True)
class DenoiserNetwork:
    """The velocity in noisy images, given as the numbers of their patches one after the other."""

    embedding: Float[Array, "P C"]
    positions: Float[Array, "L C"]  # of the patches
    time: tuple[Affine, Affine]
    classes: Float[Array, "K C"]  # the last row is of no class
    modulations: tuple[Affine, ...]  # from the condition to the six vectors of each layer
    last: Affine  # from the condition to the two behind the layers
    readout: Affine
    trunk: Trunk
    num_classes: int = field(metadata={"static": True})

    def __call__(
        self, x: Float[Array, "N F"], time: Float[Array, " N"], labels: Int[Array, " N"]
    ) -> Float[Array, "N F"]:
        """Tell v of each image; label ``num_classes`` is that of no class."""
        patches = x.reshape(len(x), len(self.positions), -1).swapaxes(0, 1)
        h = patches @ self.embedding + self.positions[:, None]
        (w1, b1), (w2, b2) = self.time
        condition = jax.nn.silu(jax.nn.silu(waves(time) @ w1 + b1) @ w2 + b2 + self.classes[labels])
        h = wide(self.trunk.together(h, [_halves(condition @ w + b) for w, b in self.modulations]))
        shift, scale = jnp.split(condition @ self.last[0] + self.last[1], 2, axis=-1)
        v = (shift + (1.0 + scale) * h) @ self.readout[0] + self.readout[1]
        return v.swapaxes(0, 1).reshape(x.shape)


def _halves(vectors: Float[Array, "N _"]) -> tuple[Modulation, Modulation]:
    parts = jnp.split(vectors, 6, axis=-1)
    return Modulation(*parts[:3]), Modulation(*parts[3:])


@pytree
@dataclass(frozen=True)
class GuidedDenoiser:
    """The velocity for images of given classes, v + (guidance - 1) (v - v of no class); guidance 1 is v itself.

    Ho and Salimans, "Classifier-free diffusion guidance", 2022 (arXiv 2207.12598).
    """

    network: DenoiserNetwork
    labels: Int[Array, " B"]
    guidance: float = field(metadata={"static": True})

    def __call__(self, x: Float[Array, "S B F"], time: Float[Array, " S"]) -> Float[Array, "S B F"]:
        """Tell v of the images of each step, whose times are those of the step."""
        size, batch, features = x.shape
        flat, times = x.reshape(-1, features), jnp.repeat(time, batch)
        labels = jnp.tile(self.labels, size)
        if self.guidance == 1.0:
            return self.network(flat, times, labels).reshape(x.shape)
        none = jnp.full_like(labels, self.network.num_classes)
        told = jnp.concatenate([labels, none])
        v, of_none = jnp.split(self.network(jnp.tile(flat, (2, 1)), jnp.tile(times, 2), told), 2)
        return (of_none + self.guidance * (v - of_none)).reshape(x.shape)
