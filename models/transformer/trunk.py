"""The stack of layers: as parameters, which are trained, and in the inference form, with a cache or without one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from models.layers.normal import Normal
from models.transformer.attention import KeysValues, attend, attend_before
from models.transformer.config import TransformerConfig
from models.transformer.layer import Modulation, TransformerLayer, gated, modulated, normalized
from solvers.trees.blocks import Start
from solvers.trees.pytree import pytree

LayerCaches: TypeAlias = tuple[KeysValues, ...]


@pytree
@dataclass(frozen=True)
class Trunk:
    """Layers in the inference form, with one definition for whole sequences, blocks and single positions."""

    layers: tuple[TransformerLayer, ...]

    @property
    def dtype(self) -> jnp.dtype:
        """The type in which the layers compute."""
        return self.layers[0].qkv.dtype

    def init_cache(self, batch_size: int, length: int) -> LayerCaches:
        """Keys and values of no position, with room for ``length``, by layer."""
        return tuple(
            KeysValues.empty(batch_size, layer.groups, length, layer.head_size, self.dtype) for layer in self.layers
        )

    def causal(
        self, h: Float[Array, "S B C"], caches: LayerCaches, start: Start, keep: Start
    ) -> tuple[Float[Array, "S B C"], LayerCaches]:
        """Features of positions [start, start + S), and the caches with the first ``keep`` of them.

        Each position attends to those before it, which the caches hold, and to itself.
        """
        size, h = h.shape[0], h.astype(self.dtype)
        positions = start + jnp.arange(size)
        whole = isinstance(keep, int) and keep == size
        kept = []
        for layer, cache in zip(self.layers, caches, strict=True):
            queries, block = layer.queries(normalized(h), positions)
            full = cache.put(block, start)
            kept.append(full if whole else cache.put(block, start, keep))
            h = h + attend_before(queries, full, start) @ layer.out
            h = h + layer.perceptron(normalized(h))
        return normalized(h), tuple(kept)

    def together(
        self, h: Float[Array, "S B C"], conditions: Sequence[tuple[Modulation, Modulation] | None]
    ) -> Float[Array, "S B C"]:
        """Features of positions that all attend to all, each half of each layer modulated by its condition."""
        positions, h = jnp.arange(h.shape[0]), h.astype(self.dtype)
        for layer, condition in zip(self.layers, conditions, strict=True):
            first, second = condition or (None, None)
            queries, memory = layer.queries(modulated(h, first), positions)
            h = h + gated(attend(queries, memory, None) @ layer.out, first)
            h = h + gated(layer.perceptron(modulated(h, second)), second)
        return normalized(h)


class TransformerWeights(nnx.Module):
    """The parameters of a trunk. ``folded`` gives the inference form."""

    def __init__(self, config: TransformerConfig, normal: Normal) -> None:
        """Draw random weights; what is added to the features is small, the smaller the more layers there are."""
        self.config = config
        width, kinds = config.width, config.num_heads + 2 * config.groups
        added = 1.0 / math.sqrt(2 * config.num_layers)
        shapes = {
            "qkv": ((width, kinds * config.head_size), 1.0),
            "out": ((width, width), added),
            "up": ((width, config.hidden * width), 1.0),
            "down": ((config.hidden * width, width), added),
        }
        self.layers = nnx.List(
            [
                nnx.Dict(
                    {
                        name: nnx.Param(normal(shape, scale / math.sqrt(shape[0])))
                        for name, (shape, scale) in shapes.items()
                    }
                )
                for _ in range(config.num_layers)
            ]
        )

    def folded(self) -> Trunk:
        """The layers in the type in which they compute."""
        config, kind = self.config, jnp.dtype(self.config.dtype)

        def layer(weights: Any) -> TransformerLayer:
            arrays = {name: _cast(weights[name][...], kind) for name in ("qkv", "out", "up", "down")}
            return TransformerLayer(
                **arrays, num_heads=config.num_heads, groups=config.groups, rotary=config.positions == "rope"
            )

        return Trunk(tuple(map(layer, self.layers)))


def _cast(weights: Float[Array, "..."], kind: Any) -> Float[Array, "..."]:
    """The weights in bfloat16 where the config says so, else as they are."""
    return weights.astype(kind) if kind == jnp.bfloat16 else weights
