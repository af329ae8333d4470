"""The stems of models/densenet/stems.py in the inference forms, with their norms folded in."""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float

from common.pytree import pytree
from models.densenet.convolution import convolve, max_pool


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
    """SmallStem's kernel."""

    kernel: Float[Array, "3 3 C F"]

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B _ _ F"]:
        """The first block's input."""
        return convolve(x, self.kernel, 2)
