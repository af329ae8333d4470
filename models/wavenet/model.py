"""WaveNet: an autoregressive model of sound, sample by sample, from causal dilated convolutions.

van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016 (arXiv 1609.03499), and the smaller network of
Paine et al., "Fast Wavenet Generation Algorithm", 2016 (arXiv 1611.09482).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from models.layers.normal import Normal
from models.wavenet.blocks import BLOCKS
from models.wavenet.conditioning import Conditioning, ConditioningWeights
from models.wavenet.network import EMPTY, FIRST, FirstLayer, WaveNetNetwork
from models.wavenet.quantization import QUANTIZERS, Linear, Quantizer
from models.wavenet.rings import Rings
from models.wavenet.stack import CausalStack
from models.wavenet.streaming import StreamingNetwork
from solvers.heads.categorical import Argmax, Gumbel
from solvers.systems.autoregressive import Noise


@dataclass(frozen=True)
class WaveNetConfig:
    """The architecture, as in configs (with ``name: wavenet``) and in checkpoints."""

    block: Literal["plain", "gated"] = "plain"  # Fast WaveNet's layers, or van den Oord's
    dilations: tuple[int, ...] = tuple(2**i for i in range(14)) * 2  # of each layer, in steps
    filter_width: int = 2
    num_hidden: int = 128  # channels of every layer
    num_skip: int = 128  # of the skip connections and the layers after them; plain layers have none
    num_classes: int = 256
    quantization: Literal["linear", "mu_law"] = "linear"  # which values the classes stand for
    input: Literal["scalar", "one_hot", "embedded"] = "scalar"  # what the first layer sees of a class
    global_classes: int = 0  # conditioning of whole samples: classes (speakers), or else
    global_size: int = 0  # the length of a vector; with classes, of their embedding
    local_size: int = 0  # conditioning in time: the length of a frame's vector
    local_hop: int = 1  # samples that a frame lasts
    sample_rate: int = 16000  # in Hz, of the sound that the model is of

    def __post_init__(self) -> None:
        if not self.dilations or min(self.dilations) < 1:
            raise ValueError(f"dilations must hold one or more positive numbers, not {list(self.dilations)}")
        lowest = {"filter_width": 2, "num_hidden": 1, "num_skip": 1, "num_classes": 2, "local_hop": 1, "sample_rate": 1}
        for name in ("global_classes", "global_size", "local_size"):
            lowest[name] = 0
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.block == "plain" and len(self.dilations) < 2:
            raise ValueError(f"dilations of a plain network must hold at least two numbers, not {list(self.dilations)}")
        if self.global_classes and not self.global_size:
            raise ValueError(f"global_classes {self.global_classes} need a global_size, that of their embedding")

    @property
    def receptive_field(self) -> int:
        """The number of samples that the next one depends on."""
        return 1 + (self.filter_width - 1) * (sum(self.dilations) + BLOCKS[self.block].has_input_layer)


class WaveNet(nnx.Module):
    """The network's parameters; ``fold`` gives the inference form.

    Noise: ``gumbel_noise`` (batch, T, classes), or (batch, T, 0) for the argmax. Samples: (batch, T) class ids.
    """

    Config = WaveNetConfig

    def __init__(self, config: WaveNetConfig, *, rngs: nnx.Rngs) -> None:
        """Draw random weights."""
        self.config = config
        block, normal = BLOCKS[config.block], Normal(rngs)
        width, channels = config.filter_width, config.num_hidden
        features = {"scalar": 1, "one_hot": config.num_classes, "embedded": channels}[config.input]
        embedded = config.input == "embedded"
        self.embedding = nnx.Param(normal((config.num_classes, features), 1.0)) if embedded else None
        # A filter of one-hot vectors sums up as many numbers as it is wide.
        fan_in = width * (1 if config.input == "one_hot" else features)
        self.first = nnx.Param(normal((width, features, channels), math.sqrt(block.gain / fan_in)))
        self.layers = nnx.List([block(width, channels, config.num_skip, normal) for _ in self._stacked])
        self.readout = block.readout(channels, config.num_skip, config.num_classes, normal)
        self.conditioning = ConditioningWeights(
            config.global_classes,
            config.global_size,
            config.local_size,
            config.local_hop,
            (len(self._stacked), block.num_sums(channels)),
            normal,
        )

    @property
    def sample_rate(self) -> int:
        """The sample rate, in Hz, of the sound that it is a model of."""
        return self.config.sample_rate

    @property
    def quantizer(self) -> Quantizer:
        """The quantizer, which says what sounds the classes stand for."""
        return QUANTIZERS[self.config.quantization](self.config.num_classes)

    @property
    def head(self) -> Gumbel:
        """The output distribution."""
        return Gumbel(self.config.num_classes)

    @property
    def greedy(self) -> Argmax:
        """The head that always takes the likeliest class."""
        return Argmax(self.config.num_classes)

    def draw_noise(self, key: Array, num_samples: int, batch_size: int) -> Noise:
        """Noise in the order of equations, (T, batch, classes)."""
        return self.head.draw_noise(key, num_samples, batch_size)

    def fold(
        self, num_samples: int = 1, *, initial_value: float = 0.0, conditioning: Conditioning | None = None
    ) -> WaveNetNetwork:
        """The network in the inference form, as the equations of ``num_samples`` samples.

        Args:
            num_samples: T.
            initial_value: in [-1, 1], what the first step reads in the place of the sample before it.
            conditioning: what the samples are conditioned on, where the architecture says that they are.

        Raises:
            ValueError: a conditioning that does not fit the architecture or each other.
        """
        block = BLOCKS[self.config.block]
        layers, biases = zip(*(layer.folded() for layer in self.layers), strict=True)
        stack = CausalStack(
            layers=layers,
            shares=self.conditioning.shares(biases, conditioning, num_samples),
            rings=Rings(self._stacked, self.config.filter_width - 1),
            num_skip=self.config.num_skip if block.has_skip else 0,
        )
        return WaveNetNetwork(
            first=FirstLayer(
                tables=self._tables(initial_value),
                dilation=1 if block.has_input_layer else self.config.dilations[0],
                rectified=not block.has_input_layer,
            ),
            stack=stack,
            readout=self.readout.folded(),
            begin=None,
            origin=jnp.int32(0),
            num_classes=self.config.num_classes,
            num_equations=num_samples,
        )

    def stream(self) -> StreamingNetwork:
        """The network on sound that is given: from a sample (1 feature) to the logits of the next one.

        Raises ValueError unless the network reads scalars and is conditioned on nothing.
        """
        if self.config.input != "scalar" or self.quantizer != Linear(self.config.num_classes):
            raise ValueError("only a network with input: scalar and quantization: linear reads sound as it is")
        network = self.fold()
        return StreamingNetwork(
            self.first[...], network.stack, network.readout, network.first.dilation, network.first.rectified
        )

    def from_sound(self, sound: Float[Array, "..."]) -> Int[Array, "..."]:
        """Class ids of sound in [-1, 1]."""
        return self.quantizer.encode(sound)

    def to_sound(self, ids: Int[Array, "..."]) -> Float[Array, "..."]:
        """Sound in [-1, 1] of class ids."""
        return self.quantizer.decode(ids)

    @property
    def _stacked(self) -> tuple[int, ...]:
        """Dilations of the layers after the first."""
        return self.config.dilations[0 if BLOCKS[self.config.block].has_input_layer else 1 :]

    def _tables(self, initial_value: float) -> Float[Array, "width I C"]:
        """The contribution of each id at each tap of the first layer."""
        num_classes = self.config.num_classes
        if self.config.input == "scalar":
            features = jnp.linspace(-1.0, 1.0, num_classes)[:, None]
            first = jnp.full((1, 1), initial_value)
        else:
            features = jnp.eye(num_classes) if self.embedding is None else self.embedding[...]
            first = features[self.quantizer.encode(jnp.full(1, initial_value))]
        extra = {EMPTY: jnp.zeros_like(first), FIRST: first}
        everything = jnp.concatenate([features, *(extra[i] for i in sorted(extra))])
        return jnp.einsum("if,wfc->wic", everything, self.first[...])
