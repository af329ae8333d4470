"""MADE: masked autoencoder for distribution estimation, as a sampler of images in logit space.

Germain et al., "MADE: Masked Autoencoder for Distribution Estimation", ICML 2015 (arXiv 1502.03509), with logistic
outputs as in Song et al. (ICML 2021): pixels x in [0, 1] become z = logit(lambda + (1 - 2 lambda) x), the network gives
(mean, log_scale) of every z_t from z_0 .. z_{t-1}, and a sample is mean + exp(log_scale) * logit(u), clamped to
[logit(lambda), logit(1 - lambda)].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from models.made.masked_dense import MaskedDense
from models.made.network import MADENetwork
from solvers.heads.logistic import Logistic
from solvers.systems.autoregressive import Noise, log_likelihood


@dataclass(frozen=True)
class MADEConfig:
    """The architecture, as in configs (with ``name: made``) and in checkpoints."""

    num_inputs: int
    hidden_sizes: tuple[int, ...] = (512, 512)
    clamp_lambda: float = 1e-6
    image_shape: tuple[int, int, int] | None = None  # default: a square image, gray or of three colours

    def __post_init__(self) -> None:
        if self.num_inputs < 1:
            raise ValueError(f"num_inputs must be at least 1, not {self.num_inputs}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must hold one or more positive sizes, not {list(self.hidden_sizes)}")
        if not 0.0 < self.clamp_lambda < 0.5:
            raise ValueError(f"clamp_lambda must be in (0, 0.5), not {self.clamp_lambda}")
        if self.image_shape is not None and math.prod(self.image_shape) != self.num_inputs:
            raise ValueError(
                f"image_shape {list(self.image_shape)} does not hold num_inputs, {self.num_inputs}, values"
            )

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a sample drawn as an image: as given, else square, else a single row."""
        if self.image_shape is not None:
            return self.image_shape
        for channels in (1, 3):
            side = math.isqrt(self.num_inputs // channels)
            if side * side * channels == self.num_inputs:
                return side, side, channels
        return 1, self.num_inputs, 1


class MADE(nnx.Module):
    """The network's parameters and masks. ``fold`` gives the inference form.

    Noise: ``logistic_noise`` (batch, T), logit(u) with u uniform. Samples: (batch, T), before the sigmoid.
    """

    Config = MADEConfig

    def __init__(self, config: MADEConfig, *, rngs: nnx.Rngs) -> None:
        """Random weights; hidden units in the order of their degrees."""
        self.config = config
        masks = generate_masks(config.num_inputs, config.hidden_sizes)
        self.layers = nnx.List([MaskedDense(mask, rngs=rngs) for mask in masks])
        # An output that knows nothing begins as the standard logistic.
        self.layers[-1].kernel[...] = 0.1 * self.layers[-1].kernel[...]
        self.prepare()

    def prepare(self) -> None:
        """Work out the hidden units' degrees from the masks; called again after masks are loaded."""
        self.degrees = unit_degrees([np.asarray(layer.mask[...]) for layer in self.layers])

    @property
    def head(self) -> Logistic:
        """The output distribution."""
        bound = math.log1p(-self.config.clamp_lambda) - math.log(self.config.clamp_lambda)
        return Logistic(bound)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""
        return self.config.shape

    @property
    def grid(self) -> tuple[int, ...]:
        """How the equations lie in files: (T,), a flat row."""
        return (self.config.num_inputs,)

    def fold(self) -> MADENetwork:
        """The network in the inference form: masks multiplied into the weights, a pixel's outputs side by side."""
        *hidden, output = [layer.folded() for layer in self.layers]
        weight, bias = output
        pairs = weight.reshape(2, self.config.num_inputs, -1).transpose(1, 0, 2)
        return MADENetwork(
            hidden=tuple(hidden),
            output=(pairs, bias.reshape(2, -1).T),
            degrees=self.degrees,
        )

    def draw_noise(self, key: Array, batch_size: int) -> Noise:
        """Noise in the order of equations, (T, batch)."""
        return self.head.draw_noise(key, self.config.num_inputs, batch_size)

    def bits_per_dim(self, images: UInt8[Array, "N H W C"], key: Array) -> Float[Array, " N"]:
        """-log2 p(image) / T under uniform dequantization, the logit's Jacobian included; one draw of the noise."""
        x = (
            images.reshape(images.shape[0], -1).T + jax.random.uniform(key, (self.config.num_inputs, len(images)))
        ) / 256
        squeezed = self._squeezed(x)
        z = jnp.log(squeezed) - jnp.log1p(-squeezed)
        log_jacobian = math.log1p(-2.0 * self.config.clamp_lambda) - jnp.log(squeezed) - jnp.log1p(-squeezed)
        log_density = log_likelihood(self.fold(), self.head, z) + log_jacobian
        return 8.0 - jnp.mean(log_density, axis=0) / math.log(2.0)

    def from_images(self, images: UInt8[Array, "N H W C"]) -> Float[Array, "T N"]:
        """Pixels as the equations have them: the logit of the middle of the value's bin."""
        squeezed = self._squeezed((images.reshape(images.shape[0], -1).T + 0.5) / 256)
        return jnp.log(squeezed) - jnp.log1p(-squeezed)

    def to_images(self, samples: Float[Array, "B T"]) -> UInt8[Array, "B H W C"]:
        """Pixels from samples in logit space."""
        x = (jax.nn.sigmoid(samples) - self.config.clamp_lambda) / (1.0 - 2.0 * self.config.clamp_lambda)
        pixels = jnp.clip(jnp.floor(256.0 * x), 0, 255).astype(jnp.uint8)
        return pixels.reshape(-1, *self.image_shape)

    def _squeezed(self, x: Float[Array, "T N"]) -> Float[Array, "T N"]:
        """Pixels in [0, 1], away from the ends, where a logit would be infinite."""
        return self.config.clamp_lambda + (1.0 - 2.0 * self.config.clamp_lambda) * x


def generate_masks(num_inputs: int, hidden_sizes: Sequence[int]) -> list[Bool[np.ndarray, "_ _"]]:
    """Masks of all layers, (outputs, inputs), in natural order of the inputs.

    Degrees of hidden layer l are drawn by numpy's RandomState(0).randint(smallest degree below, T - 1), as in the
    published code; units are sorted by degree. mask[l] = degree[l-1] <= degree[l], strictly less for the outputs, which
    are (means, log_scales).
    """
    random = np.random.RandomState(0)
    inputs = np.arange(num_inputs)
    degrees = [inputs]
    for size in hidden_sizes:
        lowest = int(degrees[-1].min())
        degrees.append(np.sort(random.randint(lowest, max(lowest + 1, num_inputs - 1), size)))
    masks = [below[None, :] <= above[:, None] for below, above in pairwise(degrees)]
    output = degrees[-1][None, :] < inputs[:, None]
    return [*masks, np.concatenate([output, output])]


def unit_degrees(masks: Sequence[Bool[np.ndarray, "_ _"]]) -> tuple[tuple[int, ...], ...]:
    """For each hidden unit the index of the last input that it depends on, -1 if it depends on none.

    Raises ValueError where units are not sorted by degree, or where an output reads its own pixel or a later one.
    """
    below = np.arange(masks[0].shape[1])
    degrees = []
    for mask in masks[:-1]:
        below = np.max(np.where(mask, below[None, :], -1), axis=1)
        if np.any(np.diff(below) < 0):
            raise ValueError("hidden units must be sorted by degree")
        degrees.append(tuple(below.tolist()))
    reads = np.max(np.where(masks[-1], below[None, :], -1), axis=1).reshape(2, -1)
    if np.any(reads >= np.arange(masks[0].shape[1])):
        raise ValueError(
            "the masks are not autoregressive in natural order: an output reads its own pixel or a later one"
        )
    return tuple(degrees)


def sort_by_degree(
    weights: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(kernel, bias, mask) of all layers with the hidden units sorted by degree: the same function."""
    below = np.arange(weights[0][0].shape[1])
    order = np.arange(below.size)
    result = []
    for kernel, bias, mask in weights[:-1]:
        kernel, mask = kernel[:, order], mask[:, order]
        degree = np.max(np.where(mask, below[None, :], -1), axis=1)
        order = np.argsort(degree, kind="stable")
        below = degree[order]
        result.append((kernel[order], bias[order], mask[order]))
    kernel, bias, mask = weights[-1]
    return [*result, (kernel[:, order], bias, mask[:, order])]
