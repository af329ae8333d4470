"""Sampling from a flow as a system of equations: a segment for each block, in the order in which noise becomes data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float

from solvers.heads.normal import Normal
from solvers.systems.autoregressive import AutoregressiveSystem
from solvers.trees.pytree import pytree

Values: TypeAlias = tuple[Float[Array, "T B *P"], ...]  # of each block, in the order of its equations

_HEAD = Normal()


@pytree
@dataclass(frozen=True)
class FlowSystem:
    """Block k turns its input u into values x by x_t = exp(a(x_<t)) u_t + b(x_<t), one equation after the other.

    The input of the first block is noise, that of every other one are the values before it, last one first, as blocks
    run in alternating directions. Satisfies SegmentedSystem: K segments of T equations; one sweep evaluates the
    equations of all blocks at once, each block on the guesses of the one before.
    """

    blocks: tuple[Any, ...]  # CausalNetworks whose parameters are LocationScale
    noise: Float[Array, "T B *P"]

    @property
    def num_segments(self) -> int:
        """The number of blocks, K."""
        return len(self.blocks)

    @property
    def num_equations(self) -> int:
        """K T."""
        return len(self.blocks) * int(self.noise.shape[0])

    def first_inputs(self) -> Float[Array, "T B *P"]:
        """The noise."""
        return self.noise

    def next_inputs(
        self, index: int, inputs: Float[Array, "T B *P"], values: Float[Array, "T B *P"]
    ) -> Float[Array, "T B *P"]:
        """The values of a block, last one first."""
        return values[::-1]

    def segment(self, index: int, inputs: Float[Array, "T B *P"]) -> AutoregressiveSystem:
        """The equations of a block, whose noise is its input."""
        return AutoregressiveSystem(self.blocks[index], _HEAD, {"normal_noise": inputs})

    def initial_guess(self) -> Values:
        """The noise, as it would come through blocks that change nothing."""
        return tuple(self.noise[:: -1 if index % 2 else 1] for index in range(self.num_segments))

    def sweep(self, x: Values) -> Values:
        """All equations of all blocks."""
        inputs, swept = self.first_inputs(), []
        for index, guess in enumerate(x):
            swept.append(self.segment(index, inputs).sweep(guess))
            inputs = self.next_inputs(index, inputs, guess)
        return tuple(swept)


def to_noise(
    blocks: tuple[Any, ...], data: Float[Array, "T B *P"]
) -> tuple[Float[Array, "T B *P"], Float[Array, " B"]]:
    """The noise that becomes ``data``, and log |d noise / d data|: one pass through each block."""
    values, log_jacobian = data, jnp.zeros(data.shape[1], jnp.float32)
    for index, block in reversed(list(enumerate(blocks))):
        size = block.num_equations
        params, _ = block.conditionals(values, block.init_cache(values.shape[1], values.dtype), 0, size, size)
        values = _HEAD.standardized(params, values)
        log_jacobian -= jnp.sum(jnp.moveaxis(params.log_scale, 1, 0).reshape(data.shape[1], -1), axis=1)
        if index:
            values = values[::-1]
    return values, log_jacobian
