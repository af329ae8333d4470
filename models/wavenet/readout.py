"""Output layers behind a stack of dilated convolutions, in the inference form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import jax
from jaxtyping import Array, Float

from models.layers.products import matmul
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class PlainReadout:
    """y = W h + b, on the last layer's output h."""

    kernel: Float[Array, "C O"]
    bias: Float[Array, " O"]

    def __call__(self, h: Float[Array, "*S C"], skip: None) -> Float[Array, "*S O"]:
        """The outputs; there are no skip connections."""
        return matmul(h, self.kernel) + self.bias


@pytree
@dataclass(frozen=True)
class SkipReadout:
    """relu, 1x1, relu, 1x1 on the sum of the skip connections (van den Oord et al., arXiv 1609.03499, figure 4)."""

    hidden: Float[Array, "K K"]
    hidden_bias: Float[Array, " K"]
    kernel: Float[Array, "K O"]
    bias: Float[Array, " O"]

    def __call__(self, h: Float[Array, "*S C"], skip: Float[Array, "*S K"]) -> Float[Array, "*S O"]:
        """The outputs, in which the last layer's own output has no part."""
        hidden = jax.nn.relu(matmul(jax.nn.relu(skip), self.hidden) + self.hidden_bias)
        return matmul(hidden, self.kernel) + self.bias


Readout: TypeAlias = PlainReadout | SkipReadout
