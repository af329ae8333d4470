"""A diffusion model of images: a denoiser, a schedule, and the samplers that make images of noise.

Ho et al., 2020 (arXiv 2006.11239); the network after Peebles and Xie, 2023 (arXiv 2212.09748).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from models.diffusion import schedule as samplers
from models.diffusion.denoiser import WAVES, DenoiserNetwork, GuidedDenoiser
from models.diffusion.schedule import LAST, SCHEDULES
from models.diffusion.system import DiffusionSystem, RememberingDiffusionSystem
from models.layers.normal import Normal
from models.layers.patches import check_patches, from_patches, to_patches
from models.transformer.config import TransformerConfig
from models.transformer.trunk import TransformerWeights


@dataclass(frozen=True)
class DiffusionConfig(TransformerConfig):
    """The architecture, as in configs (with ``name: diffusion``) and in checkpoints."""

    image_shape: tuple[int, int, int] = (28, 28, 1)
    patch_size: int = 4
    num_classes: int = 10  # of images; 0: their classes are not told
    class_dropout: float = 0.1  # share of the examples whose class is not told in training, for guidance
    schedule: str = "cosine"  # or linear

    def __post_init__(self) -> None:
        super().__post_init__()
        check_patches(self.image_shape, self.patch_size)
        if self.num_classes < 0:
            raise ValueError(f"num_classes must be 0 or more, not {self.num_classes}")
        if not 0.0 <= self.class_dropout <= 1.0:
            raise ValueError(f"class_dropout must be from 0 to 1, not {self.class_dropout}")
        SCHEDULES.check(self.schedule)


@dataclass(frozen=True)
class DiffusionOptions:
    """How images are made of noise, as configs of samplers say it under ``equations``."""

    method: Literal["ddim", "ddpm", "dpm_solver"] = "ddim"
    num_steps: int = 100
    guidance: float = 1.0  # how far a class counts: 1 as trained, more for clearer and less various images
    classes: tuple[int, ...] | None = None  # of the images, over and over; null: none is told
    variance: float = 0.25  # of images' numbers, on which what stands for the Jacobians is based

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, not {self.num_steps}")
        if not math.isfinite(self.guidance):
            raise ValueError(f"guidance must be a finite number, not {self.guidance}")
        if self.classes is not None and not self.classes:
            raise ValueError("classes must hold one or more classes, or be left out")
        if self.guidance != 1.0 and self.classes is None:
            raise ValueError(f"guidance {self.guidance:g} needs classes, towards which it guides")
        if not 0.0 < self.variance < math.inf:
            raise ValueError(f"variance must be more than 0, not {self.variance}")


class Diffusion(nnx.Module):
    """The network's parameters. Samples: (batch, F), pixels from -1 to 1 by patches.

    Noise: ``normal_noise`` (batch, F), from which images are made.
    """

    Config = DiffusionConfig
    Options = DiffusionOptions

    def __init__(self, config: DiffusionConfig, *, rngs: nnx.Rngs) -> None:
        """A network that says 0, as its last product, and what conditions change, is with zeros."""
        self.config, normal = config, Normal(rngs)
        height, width, channels = config.image_shape
        size, features = config.width, config.patch_size**2 * channels
        self.features = height * width * channels
        self.embedding = nnx.Param(normal((features, size), 1.0 / math.sqrt(features)))
        self.positions = nnx.Param(normal((self.features // features, size), 0.5))
        self.time_in, self.time_in_bias = nnx.Param(normal((WAVES, size), 1.0 / math.sqrt(WAVES))), _zeros(size)
        self.time_out, self.time_out_bias = nnx.Param(normal((size, size), 1.0 / math.sqrt(size))), _zeros(size)
        self.classes = nnx.Param(normal((config.num_classes + 1, size), 0.5))
        self.modulations = nnx.List([_zeros(size, 6 * size) for _ in range(config.num_layers)])
        self.modulation_biases = nnx.List([_zeros(6 * size) for _ in range(config.num_layers)])
        self.last, self.last_bias = _zeros(size, 2 * size), _zeros(2 * size)
        self.readout, self.readout_bias = _zeros(size, features), _zeros(features)
        self.trunk = TransformerWeights(config, normal)
        self.deterministic = False  # in training; NNX calls it so

    @property
    def num_classes(self) -> int:
        """The number of classes that are told; 0: none is."""
        return self.config.num_classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""
        return self.config.image_shape

    def fold(self) -> DenoiserNetwork:
        """The network in the inference form."""
        pairs = zip(self.modulations, self.modulation_biases, strict=True)
        return DenoiserNetwork(
            embedding=self.embedding[...],
            positions=self.positions[...],
            time=((self.time_in[...], self.time_in_bias[...]), (self.time_out[...], self.time_out_bias[...])),
            classes=self.classes[...],
            modulations=tuple((w[...], b[...]) for w, b in pairs),
            last=(self.last[...], self.last_bias[...]),
            readout=(self.readout[...], self.readout_bias[...]),
            trunk=self.trunk.folded(),
            num_classes=self.config.num_classes,
        )

    def equations(
        self,
        key: Array,
        batch_size: int,
        options: DiffusionOptions | None = None,
        noise: Float[Array, "B F"] | None = None,
    ) -> DiffusionSystem:
        """The system of a batch of images, for noise drawn from ``key``, but for what images are made of if given.

        Raises ValueError where a class is not one of the model's.
        """
        options = options or DiffusionOptions()
        first_key, noise_key = jax.random.split(key)
        first = jax.random.normal(first_key, (batch_size, self.features)) if noise is None else noise
        steps = getattr(samplers, options.method)(self.config.schedule, options.num_steps)
        fresh = None
        if options.method == "ddpm":
            fresh = jax.random.normal(noise_key, (options.num_steps, batch_size, self.features))
        kind = RememberingDiffusionSystem if options.method == "dpm_solver" else DiffusionSystem
        return kind(self._guided(options, batch_size), steps, fresh, first, options.variance)

    def inversion(self, images: UInt8[Array, "N H W C"], options: DiffusionOptions | None = None) -> DiffusionSystem:
        """The system from images to their noise, which its last state is: the steps of DDIM the other way round.

        Raises ValueError where a class is not one of the model's, or the method is not DDIM.
        """
        options = options or DiffusionOptions()
        if options.method != "ddim":
            raise ValueError(f"method must be ddim, whose steps can be gone back, not {options.method}")
        steps = samplers.ddim(self.config.schedule, options.num_steps, invert=True)
        return DiffusionSystem(self._guided(options, len(images)), steps, None, self._values(images), options.variance)

    def denoising_loss(
        self, images: UInt8[Array, "N H W C"], labels: Int[Array, " N"], key: Array
    ) -> Float[Array, " N"]:
        """The mean squared error of the velocity in each image, with noise at a time drawn evenly."""
        time_key, place_key, noise_key, drop_key = jax.random.split(key, 4)
        count, values = len(images), self._values(images)
        # Evenly over the batch, and so less noisy than drawn one by one; which image has which is chance.
        places = jax.random.permutation(place_key, count)
        time = LAST * (places + jax.random.uniform(time_key)) / count
        angle = SCHEDULES[self.config.schedule](time)[:, None]
        noise = jax.random.normal(noise_key, values.shape)
        told = labels if self.config.num_classes else jnp.zeros_like(labels)
        if not self.deterministic and self.config.num_classes:
            dropped = jax.random.bernoulli(drop_key, self.config.class_dropout, (count,))
            told = jnp.where(dropped, self.config.num_classes, told)
        noisy = jnp.cos(angle) * values + jnp.sin(angle) * noise
        error = self.fold()(noisy, time, told) - (jnp.cos(angle) * noise - jnp.sin(angle) * values)
        return jnp.mean(error * error, axis=1)

    def images(self, state: Float[Array, "T B F"] | tuple[Float[Array, "T B F"], ...]) -> UInt8[Array, "B H W C"]:
        """Pixels of a state: its last step."""
        x: Float[Array, "B F"] = jax.tree.leaves(state)[0][-1]
        patches = x.reshape(len(x), -1, self.readout[...].shape[1])
        pixels = from_patches(patches, self.image_shape, self.config.patch_size)
        return jnp.clip(jnp.round(127.5 * (pixels + 1.0)), 0, 255).astype(jnp.uint8)

    def _guided(self, options: DiffusionOptions, count: int) -> GuidedDenoiser:
        classes = (self.config.num_classes,) if options.classes is None else options.classes
        if options.classes is not None and not all(0 <= c < self.config.num_classes for c in classes):
            known = f"from 0 to {self.config.num_classes - 1}" if self.config.num_classes else "left out: none is known"
            raise ValueError(f"classes must be {known}, not {list(classes)}")
        return GuidedDenoiser(self.fold(), jnp.asarray(np.resize(classes, count), jnp.int32), options.guidance)

    def _values(self, images: UInt8[Array, "N H W C"]) -> Float[Array, "N F"]:
        """Pixels from -1 to 1, by patches."""
        scaled = images.astype(jnp.float32) / 127.5 - 1.0
        return to_patches(scaled, self.config.patch_size).reshape(len(images), -1)


def _zeros(*shape: int) -> nnx.Param[Any]:
    return nnx.Param(jnp.zeros(shape))
