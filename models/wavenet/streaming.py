"""Causal dilated convolutions on a stream: regression or classification, chunk by chunk as the full pass gives it.

The network is WaveNet's stack on given features instead of its own samples. Its state is the stack's queues, so that a
chunk costs what its samples cost, however much came before (Paine et al., "Fast Wavenet Generation Algorithm", 2016,
arXiv 1611.09482).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from models.layers.normal import Normal
from models.layers.products import matmul
from models.wavenet.blocks import BLOCKS
from models.wavenet.readout import Readout
from models.wavenet.rings import Rings
from models.wavenet.stack import CausalStack, Shares
from solvers.trees.blocks import Start
from solvers.trees.pytree import pytree


@dataclass(frozen=True)
class StreamingConfig:
    """The architecture, as in configs (with ``name: streaming``) and in checkpoints."""

    num_inputs: int = 1  # features of a step
    num_outputs: int = 1  # numbers, or logits of classes, that each step gives
    block: Literal["plain", "gated"] = "gated"
    dilations: tuple[int, ...] = tuple(2**i for i in range(8))
    filter_width: int = 2
    num_hidden: int = 32
    num_skip: int = 32  # plain layers have no skip connections

    def __post_init__(self) -> None:
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations must hold one or more positive numbers, not {list(self.dilations)}")
        for name, least in {"filter_width": 2, **dict.fromkeys(_SIZES, 1)}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")

    @property
    def receptive_field(self) -> int:
        """How many steps an output depends on, its own included."""
        return 1 + (self.filter_width - 1) * (1 + sum(self.dilations))


_SIZES = ("num_inputs", "num_outputs", "num_hidden", "num_skip")


@pytree
@dataclass(frozen=True)
class StreamState:
    """All that outputs to come depend on."""

    recent: Float[Array, "P B F"]  # inputs that the first filter still reads
    queues: Float[Array, "D B C"]
    time: Int[Array, ""]  # steps so far, less whole periods of the queues


@pytree
@dataclass(frozen=True)
class StreamingNetwork:
    """The streaming network in the inference form."""

    first: Float[Array, "width F C"]  # a filter of the input: tap j reads j * dilation steps ago
    stack: CausalStack
    readout: Readout
    dilation: int = field(metadata={"static": True})
    rectified: bool = field(metadata={"static": True})

    def init_state(self, batch_size: int = 1) -> StreamState:
        """Before the first step: zeros."""
        width, num_inputs, _ = self.first.shape
        recent = jnp.zeros((self.dilation * (width - 1), batch_size, num_inputs), self.first.dtype)
        return StreamState(recent, self.stack.init_queues(batch_size), jnp.int32(0))

    def __call__(
        self, x: Float[Array, "S B F"], state: StreamState, count: Start | None = None
    ) -> tuple[Float[Array, "S B O"], StreamState]:
        """Outputs of the next S steps, and the state after the first ``count`` of them (default: all).

        With a ``count`` chunks of several sizes share a program: steps past it are padding, whose outputs mean nothing.
        """
        size = x.shape[0]
        keep = size if count is None else count
        inputs = jnp.concatenate([state.recent, x.astype(self.first.dtype)])
        reach = state.recent.shape[0]
        taps = enumerate(self.first)
        h = jnp.sum(
            jnp.stack([matmul(inputs[reach - j * self.dilation :][:size], kernel) for j, kernel in taps]), axis=0
        )
        h = jax.nn.relu(h) if self.rectified else h
        rings = self.stack.rings
        (h, skip), layers = self.stack.block(h, state.queues, state.time, rings)
        queues = rings.write(state.queues, layers, state.time, keep)
        recent = lax.dynamic_slice_in_dim(inputs, keep, reach)
        queues, time = rings.rebased(queues, state.time + keep)
        return self.readout(h, skip), replace(state, recent=recent, queues=queues, time=time)


class StreamingConvNet(nnx.Module):
    """The network's parameters; ``fold`` gives the inference form."""

    Config = StreamingConfig

    def __init__(self, config: StreamingConfig, *, rngs: nnx.Rngs) -> None:
        """Draw random weights."""
        self.config = config
        block, normal = BLOCKS[config.block], Normal(rngs)
        width, channels = config.filter_width, config.num_hidden
        scale = math.sqrt(block.gain / (width * config.num_inputs))
        self.first = nnx.Param(normal((width, config.num_inputs, channels), scale))
        self.layers = nnx.List([block(width, channels, config.num_skip, normal) for _ in config.dilations])
        self.readout = block.readout(channels, config.num_skip, config.num_outputs, normal)

    def stream(self) -> StreamingNetwork:
        """The inference form, which reads a stream as it is."""
        return self.fold()

    def fold(self) -> StreamingNetwork:
        """The streaming network in the inference form."""
        block = BLOCKS[self.config.block]
        layers, biases = zip(*(layer.folded() for layer in self.layers), strict=True)
        stack = CausalStack(
            layers=layers,
            shares=Shares(tuple(bias[None] for bias in biases)),
            rings=Rings(self.config.dilations, self.config.filter_width - 1),
            num_skip=self.config.num_skip if block.has_skip else 0,
        )
        return StreamingNetwork(
            self.first[...], stack, self.readout.folded(), dilation=1, rectified=not block.has_input_layer
        )
