"""DenseNet in the inference form: running statistics folded into the weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.densenet.block import FoldedBlock, side_by_side
from models.densenet.convolution import convolve, halve, max_pool
from models.layers.products import matmul
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class FoldedImageNetStem:
    """ImageNetStem with its norm in the kernel and the bias."""

    kernel: Float[Array, "7 7 C F"]
    bias: Float[Array, " F"]

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _ _ F"]:
        """The first block's input."""
        return max_pool(jax.nn.relu(convolve(x, self.kernel, 2) + self.bias))


@pytree
@dataclass(frozen=True)
class FoldedSmallStem:
    """SmallStem, which has no norm of its own."""

    kernel: Float[Array, "3 3 C F"]

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _ _ F"]:
        """The first block's input."""
        return convolve(x, self.kernel, 2)


@pytree
@dataclass(frozen=True)
class FoldedTransition:
    """The layer between two blocks: relu(scale * x + shift), means of 2x2 pixels, a 1x1 convolution."""

    scale: Float[Array, " C"]
    shift: Float[Array, " C"]
    kernel: Float[Array, "C D"]

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _ _ D"]:
        """The next block's input."""
        return matmul(halve(jax.nn.relu(x * self.scale + self.shift)), self.kernel)


@pytree
@dataclass(frozen=True)
class DenseNetNetwork:
    """The whole network. Called, it is the sequential pass: layer after layer, nothing computed twice."""

    stem: FoldedImageNetStem | FoldedSmallStem
    blocks: tuple[FoldedBlock, ...]
    transitions: tuple[FoldedTransition, ...]
    scale: Float[Array, " C"]  # of the last norm
    shift: Float[Array, " C"]
    kernel: Float[Array, "C K"]
    bias: Float[Array, " K"]
    image_shape: tuple[int, int, int] = field(metadata={"static": True})

    def __call__(self, images: Float[Array, "B H W C"]) -> Float[Array, "B K"]:
        """Logits, from images as ``DenseNet.from_images`` gives them."""
        x = self.begin(images)
        for index, block in enumerate(self.blocks):
            values = block.substitute(block.open(x), 0, block.num_layers)
            x = self.following(index, x, values)
        return self.classify(x)

    def begin(self, images: Float[Array, "B H W C"]) -> Float[Array, "B h w F"]:
        """The first block's input.

        Raises:
            ValueError: images of another shape than the network's.
        """
        check_images(images.shape, self.image_shape)
        return self.stem(images)

    def following(
        self, index: int, x: Float[Array, "B H W C"], values: Float[Array, "L B H W G"]
    ) -> Float[Array, "B _ _ D"]:
        """The next block's input, from the input and the layers of block ``index``; behind the last, all of these."""
        features = jnp.concatenate([x, side_by_side(values)], axis=-1)
        return self.transitions[index](features) if index < len(self.transitions) else features

    def classify(self, x: Float[Array, "B H W C"]) -> Float[Array, "B K"]:
        """Logits, from all features of the last block."""
        features = jnp.mean(jax.nn.relu(x * self.scale + self.shift), axis=(1, 2))
        return features @ self.kernel + self.bias


def check_images(shape: tuple[int, ...], image_shape: tuple[int, int, int]) -> None:
    """Raise ValueError unless ``shape`` is that of a batch of the network's images."""
    if len(shape) != 4 or shape[1:] != image_shape:
        expected = ", ".join(map(str, image_shape))
        raise ValueError(f"images must be laid out as (N, {expected}), height, width and channels, not {shape}")
