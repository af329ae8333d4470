"""The layers of WaveNet behind their dilated filters: from a layer's input and the filter's sums to its output.

Each is applied to whole blocks of steps and to single ones, so that there is one definition of the network. A layer's
parts are plain arrays, in the inference form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import jax
from jaxtyping import Array, Float

from models.layers.products import Apart, SideBySide, matmul
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class PlainLayer:
    """h' = relu(W h + past): Fast WaveNet's layer, without residual or skip connection.

    The sums W h + past of the filter are the stack's business.
    """

    filter: Apart | SideBySide  # of the older inputs, its taps one below the other, and of the newest

    def __call__(
        self, h: Float[Array, "*S C"], skip: None, sums: Float[Array, "*S C"]
    ) -> tuple[Float[Array, "*S C"], None]:
        """The next layer's input; there are no skip connections."""
        return jax.nn.relu(sums), skip


@pytree
@dataclass(frozen=True)
class GatedLayer:
    """(a, b) = W h + past, g = tanh(a) * sigmoid(b); h' = h + V g + c, and a share of the skip connections' sum.

    van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016 (arXiv 1609.03499), equation 2 and figure 4.
    """

    filter: Apart | SideBySide
    out: Float[Array, "C _"]  # residual and skip 1x1 convolutions side by side
    out_bias: Float[Array, " _"]

    def __call__(
        self, h: Float[Array, "*S C"], skip: Float[Array, "*S K"], sums: Float[Array, "*S Z"]
    ) -> tuple[Float[Array, "*S C"], Float[Array, "*S K"]]:
        """The next layer's input, and the skip connections' sum with this layer's share."""
        width = h.shape[-1]
        gated = jax.nn.tanh(sums[..., :width]) * jax.nn.sigmoid(sums[..., width:])
        out = matmul(gated, self.out) + self.out_bias
        return h + out[..., :width], skip + out[..., width:]


Layer: TypeAlias = PlainLayer | GatedLayer
