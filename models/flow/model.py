"""A normalizing flow of images: blocks of causal transformers over patches, or of masked networks over pixels.

Zhai et al., "Normalizing flows are capable generative models", 2024 (arXiv 2412.06329: TarFlow); with ``block: made``
Papamakarios et al., "Masked autoregressive flow for density estimation", 2017 (arXiv 1705.07057: MAF).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from models.flow.system import FlowSystem, Values, to_noise
from models.layers.normal import Normal as NormalWeights
from models.layers.patches import check_patches, from_patches, to_patches
from models.made.model import MADE, MADEConfig
from models.transformer.config import TransformerConfig
from models.transformer.embeddings import LocationScales, VectorEmbedding
from models.transformer.network import TransformerNetwork
from models.transformer.trunk import TransformerWeights
from solvers.heads.normal import Normal

_BOUND = 4.0  # of a block's log-scales
_WIDTH = 6.0  # of the logits of pixels, by which they are divided: black and white are about -1 and 1


@dataclass(frozen=True)
class FlowConfig(TransformerConfig):
    """The architecture, as in configs (with ``name: flow``) and in checkpoints."""

    block: Literal["transformer", "made"] = "transformer"
    num_blocks: int = 4
    num_layers: int = 2  # of each block
    image_shape: tuple[int, int, int] = (28, 28, 1)
    patch_size: int = 4  # the side of a patch, whose pixels are the numbers of an equation; for made 1
    hidden_sizes: tuple[int, ...] = (256,)  # of made's layers, in place of a transformer's sizes
    clamp_lambda: float = 1e-6  # how far from 0 and 1 pixels are kept before the logit
    noise_std: float = 0.0  # of the normal noise that training adds to images, in pixel values of 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, not {self.num_blocks}")
        check_patches(self.image_shape, self.patch_size)
        if self.block == "made" and self.patch_size != 1:
            raise ValueError(f"patch_size of block: made must be 1, a pixel an equation, not {self.patch_size}")
        if not 0.0 < self.clamp_lambda < 0.5:
            raise ValueError(f"clamp_lambda must be in (0, 0.5), not {self.clamp_lambda}")
        if not 0.0 <= self.noise_std < math.inf:
            raise ValueError(f"noise_std must be 0 or more, not {self.noise_std}")


class TransformerBlock(nnx.Module):
    """The parameters of a block over patches."""

    def __init__(self, config: FlowConfig, length: int, features: int, normal: NormalWeights) -> None:
        """A block that changes nothing yet, as its last product is with zeros."""
        self.config, self.length = config, length
        width = config.width
        self.embedding = nnx.Param(normal((features, width), 1.0 / math.sqrt(features)))
        self.first = nnx.Param(normal((width,), 1.0))
        learned = config.positions == "learned"
        self.positions = nnx.Param(normal((length, width), 0.1)) if learned else None
        self.trunk = TransformerWeights(config, normal)
        self.readout = nnx.Param(jnp.zeros((width, 2 * features)))
        self.bias = nnx.Param(jnp.zeros(2 * features))

    def folded(self) -> TransformerNetwork:
        """The inference form."""
        positions = None if self.positions is None else self.positions[...]
        return TransformerNetwork(
            VectorEmbedding(self.embedding[...], self.first[...], positions),
            self.trunk.folded(),
            LocationScales(self.readout[...], self.bias[...], _BOUND),
            num_equations=self.length,
        )


class Flow(nnx.Module):
    """The parameters of all blocks, in the order in which noise becomes data.

    Noise: ``normal_noise`` (T, batch, P), P numbers a patch. Samples: (batch, T, P), by patches
    logit(lambda + (1 - 2 lambda) x) / 6 of pixels x from 0 to 1.
    """

    Config = FlowConfig

    def __init__(self, config: FlowConfig, *, rngs: nnx.Rngs) -> None:
        """Draw random weights."""
        self.config = config
        height, width, channels = config.image_shape
        pixels = height * width * channels
        self.features = config.patch_size**2 * channels if config.block == "transformer" else 1
        self.length = pixels // self.features
        if config.block == "made":
            made = MADEConfig(pixels, config.hidden_sizes, image_shape=config.image_shape)
            self.blocks: Any = nnx.List([MADE(made, rngs=rngs) for _ in range(config.num_blocks)])
        else:
            normal = NormalWeights(rngs)
            blocks = [TransformerBlock(config, self.length, self.features, normal) for _ in range(config.num_blocks)]
            self.blocks = nnx.List(blocks)
        self.deterministic = False  # in training; NNX calls it so

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""
        return self.config.image_shape

    def networks(self) -> tuple[Any, ...]:
        """The blocks in the inference form."""
        if self.config.block == "made":
            return tuple(block.fold() for block in self.blocks)
        return tuple(block.folded() for block in self.blocks)

    def equations(self, key: Array, batch_size: int) -> FlowSystem:
        """The system of a batch of samples, for noise drawn from ``key``."""
        head = Normal(None if self.config.block == "made" else self.features)
        return FlowSystem(self.networks(), head.draw_noise(key, self.length, batch_size)["normal_noise"])

    def bits_per_dim(self, images: UInt8[Array, "N H W C"], key: Array) -> Float[Array, " N"]:
        """-log2 p(image) / number of values under uniform dequantization; one draw of the noise.

        In training normal noise is added too, where the config says so.
        """
        uniform_key, normal_key = jax.random.split(key)
        pixels = images.astype(jnp.float32) + jax.random.uniform(uniform_key, images.shape)
        if not self.deterministic and self.config.noise_std:
            noisy = pixels + self.config.noise_std * jax.random.normal(normal_key, images.shape)
            pixels = jnp.clip(noisy, 0.0, 256.0)
        inside = 1.0 - 2.0 * self.config.clamp_lambda
        # The second is the logarithm of 1 minus the first's argument, which rounds to 1 where lambda is small.
        logs = [jnp.log(self.config.clamp_lambda + inside * x) for x in (pixels / 256.0, 1.0 - pixels / 256.0)]
        noise, log_jacobian = to_noise(self.networks(), self._laid_out((logs[0] - logs[1]) / _WIDTH))
        by_image = jnp.moveaxis(noise, 1, 0).reshape(len(images), -1)
        log_normal = -0.5 * jnp.sum(by_image**2 + math.log(2.0 * math.pi), axis=1)
        of_a_pixel = math.log(inside / _WIDTH) - logs[0] - logs[1]
        log_density = log_normal + log_jacobian + jnp.sum(of_a_pixel.reshape(len(images), -1), axis=1)
        return 8.0 - log_density / (math.prod(self.image_shape) * math.log(2.0))

    def images(self, state: Values) -> UInt8[Array, "B H W C"]:
        """Pixels of a state: the values of the last block."""
        values = jnp.moveaxis(state[-1], 1, 0)
        if self.config.block == "made":
            pixels = values.reshape(-1, *self.image_shape)
        else:
            pixels = from_patches(values, self.image_shape, self.config.patch_size)
        squeezed = jax.nn.sigmoid(_WIDTH * pixels)
        x = (squeezed - self.config.clamp_lambda) / (1.0 - 2.0 * self.config.clamp_lambda)
        return jnp.clip(jnp.floor(256.0 * x), 0, 255).astype(jnp.uint8)

    def _laid_out(self, values: Float[Array, "N H W C"]) -> Float[Array, "T N *P"]:
        """Values of pixels as the equations of the last block have them."""
        if self.config.block == "made":
            return values.reshape(len(values), -1).T
        return jnp.moveaxis(to_patches(values, self.config.patch_size), 0, 1)
