"""Sampling as a triangular system: one adapter for every autoregressive network.

With the noise fixed, ancestral sampling x_t ~ p(x_t | x_0 .. x_{t-1}) becomes the equation

    x_t = head.sample(network(x_0 .. x_{t-1})_t, noise_t)

(Song et al., "Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving", ICML 2021, section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Int

from ..system import BATCH, EQUATIONS, Divisible, Undivided
from ..trees.blocks import Start, take_block
from ..trees.pytree import pytree

Noise: TypeAlias = dict[str, Array]  # leaves (T, batch, ...), named as the model documents


@runtime_checkable
class Head(Protocol):
    """An output distribution, with sampling as a function of noise. A frozen dataclass: static under jit."""

    def sample(self, params: Any, noise: Noise) -> Array:
        """Values (size, batch, ...) from the network's outputs and noise of the same equations."""

    def log_prob(self, params: Any, values: Array) -> Array:
        """Log-likelihood of each value, in nats."""

    def draw_noise(self, key: Array, num_equations: int, batch_size: int) -> Noise:
        """Noise for a batch of sequences."""

    def check_noise(self, noise: Noise) -> None:
        """Raise ValueError unless noise from elsewhere is such as ``draw_noise`` might give."""

    def initial_guess(self, noise: Noise) -> Array:
        """The values that parallel solvers begin with, (T, batch, ...)."""


@runtime_checkable
class CausalNetwork(Protocol):
    """An autoregressive network in the inference form, with one definition for all block sizes.

    Its cache stands for a prefix x_0 .. x_{start-1}. It reads x_{t-1} and before, and gives the parameters of x_t.
    """

    @property
    def num_equations(self) -> int:
        """The number of equations, T."""

    @property
    def block_unit(self) -> int:
        """The number of equations that every start of a block is a multiple of."""

    def init_cache(self, batch_size: int, dtype: Any) -> Any:
        """The cache of the empty prefix."""

    def conditionals(self, x: Array, cache: Any, start: Start, size: int, keep: Start) -> tuple[Any, Any]:
        """Parameters of equations [start, start + size), and the cache with the features of the first ``keep``.

        ``x`` (size, batch, ...) are the guesses inside the block; ``record`` adds values to the cache. ``keep`` is a
        multiple of the block unit, or ``size``.
        """

    def record(self, values: Array, cache: Any, start: Start, keep: Start) -> Any:
        """The cache with the first ``keep`` of a block's output values in it."""

    def prefix_caches(self, x: Array, block_size: int) -> Any:
        """Caches at all multiples of block_size, with a leading axis of blocks, from one sweep over x."""

    def stretch(self, size: int, batch_size: int) -> int:
        """The length, a divisor of ``size``, of the blocks that ``open_block`` is called for one after the other."""

    def open_block(self, cache: Any, start: Start, size: int) -> Any:
        """Everything in a block that depends on the prefix alone, computed at once, ready for ``step_block``."""

    def step_block(self, block: Any, i: Int[Array, ""]) -> tuple[Any, Any]:
        """Parameters of the block's equation i (leading axis 1), once those before it are recorded; and the block."""

    def record_step(self, block: Any, value: Array, i: Int[Array, ""]) -> Any:
        """The block with the value (1, batch, ...) of its equation i."""

    def close_block(self, cache: Any, block: Any) -> tuple[Array, Any]:
        """The block's values and the cache after it."""


@pytree
@dataclass(frozen=True)
class Known:
    """The first equations' values, given: x_t = values_t for t < length, whatever the network says."""

    values: Array  # (T, batch, ...); those from ``length`` on are not read
    length: Int[Array, ""]

    def instead(self, values: Array, start: Start) -> Array:
        """``values`` of equations [start, start + size), with the given ones in their places."""
        given = take_block(self.values, start, values.shape[0]).astype(values.dtype)
        known = start + jnp.arange(values.shape[0]) < self.length
        return jnp.where(known.reshape(-1, *(1,) * (values.ndim - 1)), given, values)


@pytree
@dataclass(frozen=True)
class AutoregressiveSystem:
    """The equations of a sample for given noise. Satisfies SlidingBlockSystem and ForwardSubstitution.

    With ``known`` they are those of a sample's completion: the noise of the known equations is not used.
    """

    network: Any  # a CausalNetwork
    head: Any = field(metadata={"static": True})  # a Head
    noise: Noise
    known: Known | None = None

    @property
    def num_equations(self) -> int:
        """The number of equations, T."""
        return int(self.network.num_equations)

    @property
    def block_unit(self) -> int:
        """The block unit of the network."""
        return int(self.network.block_unit)

    def initial_guess(self) -> Array:
        """The first guess of the head, with the known values in their places."""
        guess: Array = self.head.initial_guess(self.noise)
        return guess if self.known is None else self.known.instead(guess, 0)

    def init_cache(self) -> Any:
        """The cache of the empty prefix."""
        guess = self.initial_guess()
        return self.network.init_cache(guess.shape[1], guess.dtype)

    def sweep(self, x: Array) -> Array:
        """All conditionals on the guesses x, and a value from each: the block update of everything."""
        return self.update(x, self.init_cache(), 0, self.num_equations)[0]

    def update(self, x: Array, cache: Any, start: Start, size: int) -> tuple[Array, Any]:
        """Equations [start, start + size); see BlockSystem."""
        return self.slide(x, cache, start, size, size)

    def slide(self, x: Array, cache: Any, start: Start, size: int, keep: Start) -> tuple[Array, Any]:
        """Equations [start, start + size), and the cache behind the first ``keep`` of them; see SlidingBlockSystem."""
        params, cache = self.network.conditionals(x, cache, start, size, keep)
        values = self._values(params, take_block(self.noise, start, size), start)
        return values, self.network.record(values, cache, start, keep)

    def prefix_caches(self, x: Array, block_size: int) -> Any:
        """Caches at all block starts; see BlockSystem."""
        return self.network.prefix_caches(x, block_size)

    def forward_substitution(self, cache: Any, start: Start, size: int) -> tuple[Array, Any]:
        """The exact values, stretch by stretch: the part of the prefix at once, then one short step an equation."""
        length = self.network.stretch(size, jax.tree.leaves(self.noise)[0].shape[1])

        def stretch(cache: Any, first: Int[Array, ""]) -> tuple[Any, Array]:
            noise = take_block(self.noise, first, length)

            def body(i: Int[Array, ""], block: Any) -> Any:
                params, block = self.network.step_block(block, i)
                here = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, i, 1), noise)
                value = self._values(params, here, first + i)
                return self.network.record_step(block, value, i)

            block = lax.fori_loop(0, length, body, self.network.open_block(cache, first, length))
            values, cache = self.network.close_block(cache, block)
            return cache, values

        if length == size:
            cache, values = stretch(cache, jnp.asarray(start))
            return values, cache
        cache, values = lax.scan(stretch, cache, start + length * jnp.arange(size // length))
        return values.reshape(size, *values.shape[2:]), cache

    @property
    def undivided(self) -> Mapping[str, str]:
        """The axes that the network does not let devices share; see Undivided."""
        return self.network.undivided if isinstance(self.network, Undivided) else {}

    def partition_specs(self) -> AutoregressiveSystem:
        """Noise and given values are divided like the state, weights as the network says; see Divisible."""
        like_state: Any = PartitionSpec(EQUATIONS, BATCH)
        whole: Any = PartitionSpec()
        network = self.network
        return AutoregressiveSystem(
            network.partition_specs() if isinstance(network, Divisible) else jax.tree.map(lambda leaf: whole, network),
            self.head,
            jax.tree.map(lambda leaf: like_state, self.noise),
            None if self.known is None else Known(like_state, whole),
        )

    def _values(self, params: Any, noise: Noise, start: Start) -> Array:
        """The values of the equations from ``start`` on whose parameters and noise these are."""
        values: Array = self.head.sample(params, noise)
        return values if self.known is None else self.known.instead(values, start)


def log_likelihood(network: CausalNetwork, head: Head, x: Array) -> Array:
    """Log p(x) of each equation, for given sequences x (T, batch, ...): one sweep."""
    cache = network.init_cache(x.shape[1], x.dtype)
    params, _ = network.conditionals(x, cache, 0, network.num_equations, network.num_equations)
    return head.log_prob(params, x)


def check_finite(noise: Noise) -> None:
    """Raise ValueError, naming the array, where noise is NaN or infinite; traced arrays pass unread."""
    for name, array in noise.items():
        if not isinstance(array, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(array))):
            raise ValueError(f"{name} should be finite")
