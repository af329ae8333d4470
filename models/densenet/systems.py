"""The layers of a DenseNet as a system of equations: one dense block, or the whole network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from models.densenet.block import FoldedBlock
from models.densenet.network import DenseNetNetwork
from solvers.system import BATCH, EQUATIONS
from solvers.trees.blocks import Start
from solvers.trees.pytree import pytree

R = TypeVar("R")
Segments: TypeAlias = tuple[Float[Array, "_ B _ _ G"], ...]  # (layers, batch, height, width, growth) for each block


@pytree
@dataclass(frozen=True)
class DenseBlockSystem:
    """Equation l is layer l of a block: x_l = f_l(x_0 .. x_{l-1}), its features (batch, height, width, growth).

    The cache is, for every layer, the sum of its 1x1 convolution over the input and the layers of the prefix, norms
    included: each known feature goes through each later layer's norm, relu and product once. Satisfies BlockSystem and
    ForwardSubstitution. Every start has code of its own, so that no product is padded; to vmap over starts, as
    Jacobi-GS does, computes them all.
    """

    block: FoldedBlock
    opened: Float[Array, "L B H W N"]  # the sums over the block's input

    @classmethod
    def of(cls, block: FoldedBlock, features: Float[Array, "B H W C"]) -> DenseBlockSystem:
        """The system of a block with its input bound.

        Raises:
            ValueError: an input with another number of features than the block reads.
        """
        if features.ndim != 4 or features.shape[-1] != block.input.width:
            raise ValueError(
                f"a block's input must be laid out as (N, height, width, {block.input.width}), not {features.shape}"
            )
        return cls(block, block.open(features))

    @property
    def num_equations(self) -> int:
        """The number of layers, L."""
        return self.block.num_layers

    @property
    def block_unit(self) -> int:
        """Any layer may begin a block."""
        return 1

    def initial_guess(self) -> Float[Array, "L B H W G"]:
        """Zeros in every equation."""
        return jnp.zeros((*self.opened.shape[:-1], self.block.growth_rate), self.opened.dtype)

    def sweep(self, x: Float[Array, "L B H W G"]) -> Float[Array, "L B H W G"]:
        """All layers on the guesses x, in products batched over layers."""
        return self.block.finish(self.block.add(self.opened, x, 0), 0)

    def init_cache(self) -> Float[Array, "L B H W N"]:
        """The sums over the block's input."""
        return self.opened

    def update(
        self, x: Float[Array, "S B H W G"], cache: Float[Array, "L B H W N"], start: Start, size: int
    ) -> tuple[Float[Array, "S B H W G"], Float[Array, "L B H W N"]]:
        """Layers [start, start + size); see BlockSystem."""

        def at(begin: int) -> tuple[Array, Array]:
            count = min(size, self.num_equations - begin)
            if size == 1:  # the guess is not read
                values = self.block.finish(cache[begin : begin + 1], begin)
                return values, self.block.add(cache, values, begin)
            sums = self.block.add(cache, x[:count], begin)
            return _padded(self.block.finish(sums[begin : begin + count], begin), size), sums

        return self._branch(at, start, size)

    def prefix_caches(self, x: Float[Array, "L B H W G"], block_size: int) -> Float[Array, "n L B H W N"]:
        """The sums at all block starts; see BlockSystem."""
        caches = [self.opened]
        for begin in range(0, self.num_equations - block_size, block_size):
            caches.append(self.block.add(caches[-1], x[begin : begin + block_size], begin))
        return jnp.stack(caches)

    def forward_substitution(
        self, cache: Float[Array, "L B H W N"], start: Start, size: int
    ) -> tuple[Float[Array, "S B H W G"], Float[Array, "L B H W N"]]:
        """Layer after layer; see ForwardSubstitution."""

        def at(begin: int) -> tuple[Array, Array]:
            count = min(size, self.num_equations - begin)
            values = self.block.substitute(cache, begin, count)
            return _padded(values, size), self.block.add(cache, values, begin)

        return self._branch(at, start, size)

    def _branch(self, at: Callable[[int], R], start: Start, size: int) -> R:
        """at(start), with ``start`` static: a multiple of ``size``."""
        starts = range(0, self.num_equations, size)
        if len(starts) == 1 or isinstance(start, int):
            return at(start if isinstance(start, int) else 0)
        result: R = lax.switch(start // size, [partial(at, begin) for begin in starts])
        return result


@pytree
@dataclass(frozen=True)
class BlockInput:
    """The features that the equations of a block read of those before it, and their contributions."""

    features: Float[Array, "B H W C"]
    opened: Float[Array, "L B H W N"]  # what they contribute to the layers' sums


@pytree
@dataclass(frozen=True)
class DenseNetSystem:
    """Equation l is dense layer l of the whole network; a state is a tuple of segments (L, B, H, W, G), one a block.

    In a sweep all layers are evaluated at once on the guesses x, and so are the transitions between blocks, in order.
    Satisfies TriangularSystem, and SegmentedSystem with the blocks as segments.
    """

    network: DenseNetNetwork
    first: BlockInput

    @classmethod
    def of(cls, network: DenseNetNetwork, images: Float[Array, "B H W C"]) -> DenseNetSystem:
        """The system of a batch of images, as ``DenseNet.from_images`` gives them, with the stem's features bound.

        Raises:
            ValueError: images of another shape than the network's.
        """
        features = network.begin(images)
        return cls(network, BlockInput(features, network.blocks[0].open(features)))

    @property
    def num_equations(self) -> int:
        """The number of dense layers."""
        return sum(block.num_layers for block in self.network.blocks)

    @property
    def num_segments(self) -> int:
        """The number of blocks."""
        return len(self.network.blocks)

    @property
    def undivided(self) -> Mapping[str, str]:
        """Devices share images, not layers; see Undivided of the solvers' systems."""
        return {EQUATIONS: "the layers of a DenseNet differ in shape; divide the batch: mesh: {batch: N}"}

    def partition_specs(self) -> DenseNetSystem:
        """Weights are whole on every device, features divided by images; see Divisible."""
        of_images: Any = PartitionSpec(BATCH)
        of_layers: Any = PartitionSpec(None, BATCH)
        whole = jax.tree.map(lambda leaf: PartitionSpec(), self.network)
        return DenseNetSystem(whole, BlockInput(of_images, of_layers))

    def initial_guess(self) -> Segments:
        """Zeros in every equation."""
        batch, height, width, _ = self.first.features.shape
        return tuple(
            jnp.zeros((block.num_layers, batch, height >> i, width >> i, block.growth_rate), self.first.features.dtype)
            for i, block in enumerate(self.network.blocks)
        )

    def sweep(self, x: Segments) -> Segments:
        """All layers of all blocks on the guesses x."""
        result, inputs = [], self.first
        for index, guesses in enumerate(x):
            result.append(self.segment(index, inputs).sweep(guesses))
            if index + 1 < self.num_segments:
                inputs = self.next_inputs(index, inputs, guesses)
        return tuple(result)

    def first_inputs(self) -> BlockInput:
        """The input of the first block: the features of the stem."""
        return self.first

    def next_inputs(self, index: int, inputs: BlockInput, values: Float[Array, "L B H W G"]) -> BlockInput:
        """The input of block ``index + 1``, from that of block ``index`` and its layers' values: the transition."""
        features = self.network.following(index, inputs.features, values)
        return BlockInput(features, self.network.blocks[index + 1].open(features))

    def segment(self, index: int, inputs: BlockInput) -> DenseBlockSystem:
        """The equations of one block."""
        return DenseBlockSystem(self.network.blocks[index], inputs.opened)

    def readout(self, x: Segments) -> Float[Array, "B K"]:
        """Logits of the classes, from a state."""
        features = self.first.features
        for index, values in enumerate(x):
            features = self.network.following(index, features, values)
        return self.network.classify(features)


def _padded(values: Float[Array, "_ B H W G"], size: int) -> Float[Array, "S B H W G"]:
    """The values with rows of zeros behind them, ``size`` rows in all."""
    return jnp.pad(values, ((0, size - values.shape[0]), *[(0, 0)] * (values.ndim - 1)))
