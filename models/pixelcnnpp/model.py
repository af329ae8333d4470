"""PixelCNN++: an autoregressive model of images, pixel by pixel in raster order.

Salimans, Karpathy, Chen, Kingma, "PixelCNN++: Improving the PixelCNN with discretized logistic mixture likelihood and
other modifications", ICLR 2017 (arXiv 1701.05517), in the sizes of Song et al. (ICML 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from models.pixelcnnpp.network import PixelCNNPPNetwork
from models.pixelcnnpp.weight_norm import WeightNorm
from solvers.heads.logistic_mixture import DiscretizedLogisticMixture
from solvers.systems.autoregressive import Noise


@dataclass(frozen=True)
class PixelCNNPPConfig:
    """The architecture, as in configs (with ``name: pixelcnnpp``) and in checkpoints."""

    image_shape: tuple[int, int, int] = (28, 28, 1)  # height and width divisible by 4; 1 (gray) or 3 (RGB) channels
    nr_resnet: int = 5  # gated residual blocks in a stage
    nr_filters: int = 40  # channels of every feature
    nr_logistic_mix: int = 10  # components of the output's mixture
    dropout: float = 0.0  # of features inside blocks, in training only

    def __post_init__(self) -> None:
        height, width, channels = self.image_shape
        if min(height, width) < 4 or height % 4 or width % 4:
            raise ValueError(
                f"image_shape {list(self.image_shape)}: height and width must be divisible by 4, as the network halves "
                f"them twice; nearest: {[_divisible(height), _divisible(width), channels]}"
            )
        if channels not in (1, 3):
            raise ValueError(f"image_shape {list(self.image_shape)}: 1 (gray) or 3 (RGB) channels, not {channels}")
        for name in ("nr_resnet", "nr_filters", "nr_logistic_mix"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")


class PixelCNNPP(nnx.Module):
    """The network's parameters; ``fold`` gives the inference form fastest.

    Noise: ``mixture_u`` (batch, H, W, M) and ``logistic_u`` (batch, H, W, C), uniform in (0, 1). Samples: (batch, H,
    W, C) in [-1, 1]. In both, a solver's equations are the pixels in raster order.
    """

    Config = PixelCNNPPConfig

    def __init__(self, config: PixelCNNPPConfig, *, rngs: nnx.Rngs) -> None:
        """Draw random weights."""
        self.config = config
        self.deterministic = True  # no dropout; flax's train() and eval() set it
        self.network = PixelCNNPPNetwork(
            config.image_shape, config.nr_resnet, config.nr_filters, self.head.num_params, rngs=rngs
        )

    @property
    def head(self) -> DiscretizedLogisticMixture:
        """The output distribution."""
        return DiscretizedLogisticMixture(self.config.image_shape[-1], self.config.nr_logistic_mix)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""
        return self.config.image_shape

    @property
    def grid(self) -> tuple[int, ...]:
        """How the equations lie in files: (H, W), a pixel each."""
        return self.config.image_shape[:2]

    def fold(self) -> PixelCNNPPNetwork:
        """The network with its kernels computed once from their weight norm.

        Some kernels are in it twice, as steps and walks read them too: take derivatives through ``fold``, not of it.
        """

        def folded(node: object) -> object:
            return node.folded() if isinstance(node, WeightNorm) else node

        network: PixelCNNPPNetwork = jax.tree.map(
            folded, self.network, is_leaf=lambda node: isinstance(node, WeightNorm)
        )
        network.left_input.lay_out()
        network.vertical.lay_out()
        network.horizontal.lay_out()
        return network

    def draw_noise(self, key: Array, batch_size: int) -> Noise:
        """Noise in the order of equations, (H * W, batch, ...)."""
        return self.head.draw_noise(key, self.network.num_equations, batch_size)

    def bits_per_dim(self, images: UInt8[Array, "N H W C"], key: Array) -> Float[Array, " N"]:
        """-log2 p(image) / (H * W * C). In training mode with dropout, drawn from ``key``."""
        height, width, channels = self.image_shape
        x = self.from_images(images).reshape(height, width, len(images), channels)
        drop = Dropout(0.0 if self.deterministic else self.config.dropout, key)
        network = self.fold()
        params, _ = network.rows(x, network.init_cache(x.shape[2], x.dtype), 0, drop=drop)
        log_prob = self.head.log_prob(params.reshape(-1, *params.shape[2:]), x.reshape(-1, *x.shape[2:]))
        return -jnp.sum(log_prob, axis=0) / (math.log(2.0) * math.prod(self.image_shape))

    def from_images(self, images: UInt8[Array, "N H W C"]) -> Float[Array, "T N C"]:
        """Pixels as the equations have them, in [-1, 1]."""
        rows = jnp.transpose(images.astype(float) / 127.5 - 1.0, (1, 2, 0, 3))
        return rows.reshape(-1, *rows.shape[2:])

    def to_images(self, samples: Float[Array, "B ..."]) -> UInt8[Array, "B H W C"]:
        """Pixels from samples in [-1, 1]."""
        pixels = jnp.clip(jnp.round(127.5 * (samples + 1.0)), 0, 255).astype(jnp.uint8)
        return pixels.reshape(-1, *self.image_shape)


class Dropout:
    """Zeroes features at random, with a mask of its own at each call, and scales the others."""

    def __init__(self, rate: float, key: Array) -> None:
        """``rate``: the share of features that go, in steps of 1/256."""
        self.threshold, self.key, self.calls = round(256 * rate), key, 0

    def __call__(self, x: Float[Array, "*S"]) -> Float[Array, "*S"]:
        """Drop features of x, unless the rate is 0."""
        if not self.threshold:
            return x
        self.calls += 1
        bits = jax.random.bits(jax.random.fold_in(self.key, self.calls), x.shape, jnp.uint8)  # a byte each is cheaper
        return jnp.where(bits >= self.threshold, x * (256 / (256 - self.threshold)), 0.0)


def _divisible(size: int) -> int:
    """The nearest number that 4 divides."""
    return max(4, 4 * round(size / 4))
