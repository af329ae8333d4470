"""A dense block in the inference form: norms folded, layers stacked, so that a sweep is a few batched products.

Layer l gives x_l = f_l(x_0 .. x_{l-1}), here with the block's input apart: its 1x1 convolution is a sum

    h_l = b_l + relu(s_l * input + t_l) K_l + sum over m < l of relu(s_lm * x_m + t_lm) K_lm

and x_l is the 3x3 convolution of relu(h_l). The norm after the sum is folded into K and b; the one before stays a
scale and a shift, since the relu comes between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from models.densenet.convolution import add_shifted
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class Reader:
    """One layer's part in the 1x1 convolution, or that of several layers one above the other: relu(s * x + t) @ K."""

    scale: Float[Array, "n C"]
    shift: Float[Array, "n C"]
    kernel: Float[Array, "n C N"]

    @property
    def width(self) -> int:
        """The number of features that are read."""
        return int(self.kernel.shape[1])

    def of(self, layers: slice, features: slice) -> Reader:
        """Some layers' part in reading some of the features."""
        part: Reader = jax.tree.map(lambda a: a[layers, features], self)
        return part

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "n B H W N"]:
        """The layers' products, as one that is batched over layers."""
        rows = x.reshape(1, -1, x.shape[-1])
        seen = jax.nn.relu(rows * self.scale[:, None] + self.shift[:, None])
        products = jnp.einsum("npc,ncf->npf", seen, self.kernel)
        return products.reshape(-1, *x.shape[:-1], self.kernel.shape[-1])


@pytree
@dataclass(frozen=True)
class FoldedBlock:
    """All layers of a block. Those of a group are padded to the widest of them, which reads all layers before it."""

    input: Reader  # what all layers read of the block's input
    bias: Float[Array, "L N"]
    groups: tuple[Reader, ...]  # what the layers, in order, read of the layers before them
    taps: Float[Array, "L N F"]  # the 3x3 kernels, their nine matrices side by side, F = 9 * G

    @property
    def num_layers(self) -> int:
        """The number of layers, L."""
        return int(self.taps.shape[0])

    @property
    def growth_rate(self) -> int:
        """G, the features of a layer."""
        return int(self.taps.shape[-1]) // 9

    def open(self, x: Float[Array, "B H W C"]) -> Float[Array, "L B H W N"]:
        """The contributions of the block's input to the sums h of all layers."""
        return self.input(x) + self.bias[:, None, None, None]

    def add(self, h: Float[Array, "L B H W N"], x: Float[Array, "S B H W G"], start: int) -> Float[Array, "L B H W N"]:
        """The sums h with what layers [start, start + S) contribute to those behind them."""
        features = side_by_side(x)
        begin, parts = start * self.growth_rate, []
        for first, group in self._groups():
            part = h[first : first + group.kernel.shape[0]]
            end = min(begin + features.shape[-1], group.width)
            if end > begin:
                part = part + group.of(slice(None), slice(begin, end))(features[..., : end - begin])
            parts.append(part)
        return jnp.concatenate(parts)

    def finish(self, h: Float[Array, "S B H W N"], start: int) -> Float[Array, "S B H W G"]:
        """The features of layers [start, start + S) from their whole sums: relu and the 3x3 convolutions."""
        rows = jax.nn.relu(h).reshape(h.shape[0], -1, h.shape[-1])
        parts = jnp.einsum("npc,ncf->npf", rows, self.taps[start : start + h.shape[0]])
        return add_shifted(parts.reshape(*h.shape[:-1], parts.shape[-1]))

    def substitute(self, h: Float[Array, "L B H W N"], start: int, size: int) -> Float[Array, "S B H W G"]:
        """Layers [start, start + size) one after the other, from sums that hold all contributions of those before.

        Each layer reads the new features before it as one product.
        """
        growth, offset = self.growth_rate, start * self.growth_rate
        known = jnp.zeros((*h.shape[1:-1], size * growth), h.dtype)
        for i in range(size):
            first, group = next((f, g) for f, g in self._groups() if start + i < f + g.kernel.shape[0])
            total = h[start + i : start + i + 1]
            if i:
                row = start + i - first
                reader = group.of(slice(row, row + 1), slice(offset, offset + i * growth))
                total = total + reader(known[..., : i * growth])
            new = self.finish(total, start + i)[0]
            known = lax.dynamic_update_slice_in_dim(known, new, i * growth, axis=-1)
        return one_by_one(known, size)

    def product_sizes(self) -> tuple[int, int]:
        """Multiply-adds a pixel of a sweep's 1x1 products over the layers: of those padded, and of those that count."""
        padded = sum(group.kernel.size for group in self.groups)
        layers = self.num_layers
        return padded, layers * (layers - 1) // 2 * self.growth_rate * int(self.bias.shape[-1])

    def _groups(self) -> Iterator[tuple[int, Reader]]:
        """Each group with its first layer."""
        first = 0
        for group in self.groups:
            yield first, group
            first += group.kernel.shape[0]


def side_by_side(x: Float[Array, "S B H W G"]) -> Float[Array, "B H W F"]:
    """The features of layers one after the other, F = S * G."""
    return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], x.shape[0] * x.shape[-1])


def one_by_one(features: Float[Array, "B H W F"], layers: int) -> Float[Array, "S B H W G"]:
    """The features of each of ``layers`` layers: the inverse of ``side_by_side``."""
    return jnp.moveaxis(features.reshape(*features.shape[:-1], layers, features.shape[-1] // layers), -2, 0)
