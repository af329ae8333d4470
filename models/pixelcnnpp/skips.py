"""The skip layers of several blocks at once: what they give is known before the first of the blocks is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Array, Float

from models.layers.products import Each, Together, concatenate_channels, products
from models.pixelcnnpp.dense import Dense
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class Skips:
    """Products of what blocks' sources, side and skip, are to ``concat_elu``, and biases."""

    whole: Each | Together
    of_skips: Each | Together  # the rows of the kernels that are for the skip, the last source
    biases: tuple[Float[Array, " F"], ...]

    @classmethod
    def of(cls, layers: Sequence[Dense]) -> Skips:
        """The skip layers of blocks, in their order."""
        weights = [layer.weight.folded() for layer in layers]
        kernels = [weight.kernel[...] for weight in weights]
        last = [kernel[-2 * kernel.shape[-1] :] for kernel in kernels]
        return cls(products(kernels), products(last), tuple(weight.bias[...] for weight in weights))

    def rows(self, sources: Sequence[Sequence[Float[Array, "h W B C"]]]) -> list[Float[Array, "h W B F"]]:
        """What the layers give for the sources of each block."""
        found = self.whole([concatenate_channels(each) for each in sources])
        return [product + bias for product, bias in zip(found, self.biases, strict=True)]

    def pixels(self, skips: Sequence[Float[Array, "B C"]]) -> list[Float[Array, "B F"]]:
        """The share of the skips alone, without bias."""
        return self.of_skips(skips)
