"""DenseNet-BC: a classifier of images whose layers read all layers before them.

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017 (arXiv 1608.06993). In a dense block
x_l = f_l(x_0 .. x_{l-1}), with f = 3x3 convolution of relu(norm2(1x1 convolution of relu(norm1(all before)))); between
blocks a transition halves the features and the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from models.densenet.batch_norm import BatchNorm, Seen
from models.densenet.conv import NarrowConv, PointwiseConv
from models.densenet.convolution import halve
from models.densenet.fold import GROUP_SIZE, fold_densenet
from models.densenet.network import DenseNetNetwork, check_images
from models.densenet.stems import STEMS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DenseNetConfig:
    """The architecture, as in configs (with ``name: densenet``) and in checkpoints."""

    growth_rate: int = 32  # features that a layer adds
    block_layers: tuple[int, ...] = (6, 12, 24, 16)
    num_init_features: int = 64  # of the stem
    num_classes: int = 1000
    image_shape: tuple[int, int, int] = (224, 224, 3)  # (height, width, channels)
    bn_size: int = 4  # the 1x1 convolution gives bn_size * growth_rate features
    stem: str = "imagenet"  # a name in STEMS
    pixel_mean: tuple[float, ...] = IMAGENET_MEAN  # of pixels in [0, 1], by channel
    pixel_std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name in ("growth_rate", "num_init_features", "num_classes", "bn_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.block_layers or min(self.block_layers) < 1:
            raise ValueError(f"block_layers must hold one or more positive counts, not {list(self.block_layers)}")
        STEMS.check(self.stem)
        if min(self.image_shape) < 1:
            raise ValueError(f"image_shape must hold three positive sizes, not {list(self.image_shape)}")
        for name in ("pixel_mean", "pixel_std"):
            if len(getattr(self, name)) != self.image_shape[-1]:
                raise ValueError(
                    f"{name} must hold a number for each of the {self.image_shape[-1]} channels, "
                    f"not {list(getattr(self, name))}"
                )
        if min(self.pixel_std) <= 0.0:
            raise ValueError(f"pixel_std must be positive, not {list(self.pixel_std)}")
        if min(self.grids[-1]) < 1:
            raise ValueError(
                f"image_shape {list(self.image_shape)} is too small for {len(self.block_layers)} blocks; "
                f"height and width must be at least {self._smallest_side}"
            )

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each block's images."""
        height, width = (STEMS[self.stem].side(side) for side in self.image_shape[:2])
        return tuple((height >> block, width >> block) for block in range(len(self.block_layers)))

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of features that each block begins with."""
        widths = [self.num_init_features]
        for layers in self.block_layers[:-1]:
            widths.append((widths[-1] + layers * self.growth_rate) // 2)
        return tuple(widths)

    @property
    def num_features(self) -> int:
        """The number of features at the end of the last block, from which the classes are told."""
        return self.widths[-1] + self.block_layers[-1] * self.growth_rate

    @property
    def _smallest_side(self) -> int:
        last = 1 << (len(self.block_layers) - 1)
        return next(side for side in range(1, 8 * last) if STEMS[self.stem].side(side) >= last)


class DenseLayer(nnx.Module):
    """x_l from the features of all layers before it: norm, relu, 1x1, norm, relu, 3x3."""

    def __init__(self, features_in: int, bottleneck: int, growth_rate: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = BatchNorm(features_in)
        self.conv1 = PointwiseConv(features_in, bottleneck, rngs=rngs)
        self.norm2 = BatchNorm(bottleneck)
        self.conv2 = NarrowConv(bottleneck, growth_rate, rngs=rngs)

    def __call__(self, before: Seen) -> Float[Array, "B H W G"]:
        """The layer's new features, from all those before."""
        h = self.conv1(jax.nn.relu(self.norm1.read(before)))
        return self.conv2(jax.nn.relu(self.norm2(h)))


class Transition(nnx.Module):
    """The layer between two blocks: norm, relu, 1x1 convolution to half of the features, means of 2x2 pixels."""

    def __init__(self, features_in: int, *, rngs: nnx.Rngs) -> None:
        self.norm = BatchNorm(features_in)
        self.conv = PointwiseConv(features_in, features_in // 2, rngs=rngs)

    def __call__(self, before: Seen) -> Float[Array, "B _ _ D"]:
        """The next block's input. Means commute with a 1x1 convolution: a quarter is left to convolve."""
        return self.conv(halve(jax.nn.relu(self.norm.read(before))))


class DenseNet(nnx.Module):
    """The network's parameters, and its pass in training; ``fold`` gives the inference form, and the equations.

    ``train()`` and ``eval()`` choose the statistics of the norms; a new network is as after ``eval()``.
    """

    Config = DenseNetConfig

    def __init__(self, config: DenseNetConfig, *, rngs: nnx.Rngs) -> None:
        """Draw random weights."""
        self.config = config
        growth, bottleneck = config.growth_rate, config.bn_size * config.growth_rate
        self.stem = STEMS[config.stem](config.image_shape[-1], config.num_init_features, rngs=rngs)
        self.blocks = nnx.List(
            nnx.List(DenseLayer(width + i * growth, bottleneck, growth, rngs=rngs) for i in range(layers))
            for width, layers in zip(config.widths, config.block_layers, strict=True)
        )
        ends = [width + n * growth for width, n in zip(config.widths, config.block_layers, strict=True)]
        self.transitions = nnx.List(Transition(end, rngs=rngs) for end in ends[:-1])
        self.norm = BatchNorm(config.num_features)
        random = np.random.default_rng(np.asarray(jax.random.key_data(rngs.params())))
        bound = 1.0 / math.sqrt(config.num_features)
        kernel = random.uniform(-bound, bound, (config.num_features, config.num_classes))
        self.kernel = nnx.Param(jnp.asarray(kernel.astype(np.float32)))
        self.bias = nnx.Param(jnp.asarray(np.zeros(config.num_classes, np.float32)))

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B K"]:
        """Logits of the classes, from images as ``from_images`` gives them."""
        # All norms of a block that read a feature would take the same moments of it: they are taken once.
        see = partial(Seen.of, training=not self.norm.use_running_average)
        seen = see(self.stem(x))
        for i, layers in enumerate(self.blocks):
            if i:
                seen = see(self.transitions[i - 1](seen))
            for layer in layers:
                seen = seen.beside(see(layer(seen)))
        features = jnp.mean(jax.nn.relu(self.norm.read(seen)), axis=(1, 2))
        return features @ self.kernel[...] + self.bias[...]

    def fold(self, group_size: int = GROUP_SIZE) -> DenseNetNetwork:
        """The inference form, with running statistics; not under jit. See ``fold_densenet``."""
        return fold_densenet(self, group_size)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""
        return self.config.image_shape

    @property
    def num_classes(self) -> int:
        """The number of logits."""
        return self.config.num_classes

    def from_images(self, images: UInt8[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        """Pixels in [0, 1], less their mean, in units of their standard deviation.

        Raises:
            ValueError: images of another shape than the network's.
        """
        check_images(images.shape, self.image_shape)
        mean, std = jnp.asarray(self.config.pixel_mean), jnp.asarray(self.config.pixel_std)
        return (images.astype(float) / 255.0 - mean) / std
