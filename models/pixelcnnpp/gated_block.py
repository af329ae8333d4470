"""The gated residual block of PixelCNN++."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.layers.products import concatenate_channels, matmul, written_once
from models.pixelcnnpp.dense import Dense
from models.pixelcnnpp.pixel_conv import PixelConv
from models.pixelcnnpp.row_conv import RowConv
from solvers.trees.platform import on_cpu


# A network calls these hundreds of times: by jit they are traced once for each shape.
@jax.jit
def elu(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """The exponential linear unit: x where positive, else exp(x) - 1."""
    return jnp.where(x > 0, x, jnp.expm1(-jnp.abs(x)))


@jax.jit
def concat_elu(x: Float[Array, "*S F"]) -> Float[Array, "*S _"]:
    """Both elu(x) and elu(-x), side by side in the channels; on a CPU one exponential serves both.

    An accelerator would write that down in a kernel of its own.
    """
    if not on_cpu():
        return elu(jnp.concatenate([x, -x], -1))
    negative = jnp.expm1(-jnp.abs(x))
    return concatenate_channels([jnp.where(x > 0, x, negative), jnp.where(x < 0, -x, negative)])


class GatedBlock(nnx.Module):
    """h = first(concat_elu(x)) + skip(concat_elu(side), concat_elu(skip)); (a, b) = second(concat_elu(h)).

    The output is x + a * sigmoid(b) (Salimans et al., "PixelCNN++", ICLR 2017, arXiv 1701.05517). ``side`` is what the
    vertical stack's block in the same place gave, ``skip`` what the same stack gave on the way up; either may be
    missing. A frame is a tile of a convolution's input with the row above it.
    """

    def __init__(
        self,
        conv: type[RowConv] | type[PixelConv],
        features: int,
        *,
        has_side: bool,
        has_skip: bool,
        rngs: nnx.Rngs,
    ) -> None:
        self.first = conv(2 * features, features, rngs=rngs)
        # A block begins close to the identity, so that deep stacks begin tame.
        self.second = conv(2 * features, 2 * features, init_scale=0.1, rngs=rngs)
        self.has_side, self.has_skip = has_side, has_skip
        sources = has_side + has_skip
        self.skip = Dense(2 * sources * features, features, rngs=rngs) if sources else None

    def rows(
        self,
        x: Float[Array, "h W B F"],
        extra: Float[Array, "h W B F"] | None,
        above: tuple[Float[Array, "W B C"], Float[Array, "W B C"]],
        drop: Callable[[Array], Array],
    ) -> tuple[Float[Array, "h W B F"], tuple[Array, Array]]:
        """Rows from x, what the skip layer gives, and each convolution's input in the row above.

        ``drop`` is applied before the second convolution. Returns the output and both convolutions' frames.
        """
        frame = written_once(jnp.concatenate([above[0][None], concat_elu(x)]))
        h = self.first(frame)
        if extra is not None:
            h = h + extra
        frame_h = written_once(jnp.concatenate([above[1][None], drop(concat_elu(h))]))
        return gate(x, self.second(frame_h)), (frame, frame_h)

    def shares(
        self, above: tuple[Float[Array, "W B C"], Float[Array, "W B C"]], side: Float[Array, "W B C"]
    ) -> tuple[Float[Array, "W B F"], Float[Array, "W B G"]]:
        """The shares of the row above and of the vertical stack in h and (a, b), for a row of the horizontal stack.

        ``side``: what ``concat_elu`` gives for the vertical stack's output.
        """
        assert isinstance(self.first, PixelConv)
        assert isinstance(self.second, PixelConv)
        assert self.skip is not None
        weight = self.skip.weight.folded()
        from_side = matmul(side, weight.kernel[: side.shape[-1]]) + weight.bias[...]
        return self.first.from_above(above[0]) + from_side, self.second.from_above(above[1])

    def step(
        self,
        x: Float[Array, "B F"],
        extra: Float[Array, "B F"] | None,
        shares: tuple[Float[Array, "B F"], Float[Array, "B G"]],
        left: tuple[Float[Array, "B C"], Float[Array, "B C"]],
    ) -> tuple[Float[Array, "B F"], tuple[Array, Array]]:
        """One pixel, given what its skip gives, its shares, and both convolutions' inputs to the left.

        Returns the output and the convolutions' inputs.
        """
        assert isinstance(self.first, PixelConv)
        assert isinstance(self.second, PixelConv)
        seen = concat_elu(x)
        h = self.first.step(shares[0], left[0], seen)
        if extra is not None:
            h = h + extra
        seen_h = concat_elu(h)
        return gate(x, self.second.step(shares[1], left[1], seen_h)), (seen, seen_h)


@jax.jit
def gate(x: Float[Array, "*S F"], y: Float[Array, "*S G"]) -> Float[Array, "*S F"]:
    """The gated residual x + a * sigmoid(b), where (a, b) = y."""
    a, b = jnp.split(y, 2, axis=-1)
    return x + a * jax.nn.sigmoid(b)
