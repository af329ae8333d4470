"""A layer of a transformer in the inference form: attention, then a perceptron, each added to what it reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from models.transformer.attention import KeysValues, turned
from solvers.trees.pytree import pytree

_EPS = 1e-6


def wide(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Numbers in float32 where they were in bfloat16, else as they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def normalized(x: Float[Array, "*S C"]) -> Float[Array, "*S C"]:
    """Features divided by their root mean square; a scale of each would be a part of the product that follows."""
    exact = wide(x)
    return (exact * lax.rsqrt(jnp.mean(exact * exact, axis=-1, keepdims=True) + _EPS)).astype(x.dtype)


class Modulation(NamedTuple):
    """What a condition does to one half of a layer: h + gate * f(shift + (1 + scale) * norm(h)).

    Peebles and Xie, "Scalable diffusion models with transformers", 2023 (arXiv 2212.09748).
    """

    shift: Float[Array, "B C"]
    scale: Float[Array, "B C"]
    gate: Float[Array, "B C"]


@pytree
@dataclass(frozen=True)
class TransformerLayer:
    """h <- h + W_o attention(norm(h)), h <- h + W_2 gelu(W_1 norm(h)), with no biases."""

    qkv: Float[Array, "C E"]
    out: Float[Array, "_ C"]
    up: Float[Array, "C F"]
    down: Float[Array, "F C"]
    num_heads: int = field(metadata={"static": True})
    groups: int = field(metadata={"static": True})
    rotary: bool = field(metadata={"static": True})

    @property
    def head_size(self) -> int:
        """The number of features of a head."""
        return int(self.out.shape[0]) // self.num_heads

    def queries(
        self, x: Float[Array, "S B C"], positions: Int[Array, " S"]
    ) -> tuple[Float[Array, "S B H D"], KeysValues]:
        """Queries of each position, and its keys and values, from features that are normalized."""
        heads = (x @ self.qkv).reshape(*x.shape[:2], self.num_heads + 2 * self.groups, self.head_size)
        queries, keys, values = jnp.split(heads, (self.num_heads, self.num_heads + self.groups), axis=2)
        if self.rotary:
            queries, keys = turned(queries, positions), turned(keys, positions)
        return queries, KeysValues.of(keys, values)

    def perceptron(self, x: Float[Array, "S B C"]) -> Float[Array, "S B C"]:
        """W_2 gelu(W_1 x)."""
        return jax.nn.gelu(x @ self.up) @ self.down


def modulated(x: Float[Array, "S B C"], by: Modulation | None) -> Float[Array, "S B C"]:
    """Normalized features as a half of a layer reads them."""
    return normalized(x) if by is None else (by.shift + (1.0 + by.scale) * normalized(x)).astype(x.dtype)


def gated(x: Float[Array, "S B C"], by: Modulation | None) -> Float[Array, "S B C"]:
    """What a half of a layer gives, as it is added."""
    return x if by is None else (by.gate * x).astype(x.dtype)
