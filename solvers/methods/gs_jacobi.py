"""GS-Jacobi: Gauss-Seidel over blocks, Jacobi inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ..blocks import BlockSolver, count_blocks
from ..equations import compare, isolated, next_frontier, tolerated
from ..solver import StepInfo
from ..trees.blocks import put_block, take_block


class GSJacobiState(NamedTuple):
    """The start of the block in work, and the cache of all before it."""

    start: Int[Array, ""]
    cache: Any


@dataclass(frozen=True)
class GSJacobi(BlockSolver):
    """Blocks in order, each iterated by Jacobi from the cache of the blocks before it.

    A step is one evaluation of one block. The block's cache is committed when every sample of the batch has converged
    in it (Song et al., ICML 2021). ``tol`` decides acceptance of a block. ``block_size`` None: as the system says, or
    about sqrt(T); see ``default_block_size``.
    """

    def max_steps(self, system: Any) -> int:
        """T steps, as each block is done within its length, and one for each block that confirms it."""
        return int(system.num_equations) + count_blocks(system, self.block_length(system))

    def init(self, system: Any, x: Any) -> GSJacobiState:
        """The first block in work, and nothing cached."""
        return GSJacobiState(jnp.int32(0), system.init_cache())

    def step(
        self, system: Any, x: Any, state: GSJacobiState, frontier: Int[Array, " B"]
    ) -> tuple[Any, GSJacobiState, StepInfo]:
        """One Jacobi step on the block in work, which moves on if all samples agree with it."""
        start, cache = state
        num_equations, size = system.num_equations, self.block_length(system)
        length = jnp.minimum(size, num_equations - start)  # the last block may be padded
        guess = take_block(x, start, size)
        values, new_cache = isolated(
            lambda system, *rest: system.update(*rest, size), (guess, cache), system, guess, cache, start
        )
        values = _keep_inside(jnp.arange(size)[:, None] < length, values, guess)
        residual, matching = compare(values, guess, size)
        inside = jnp.maximum(frontier - start, 0)
        failed = frontier < 0  # such a sample must not hold up the others
        move = jnp.all((residual <= tolerated(self.tol, values)) | failed)
        complete = move & (start + length == num_equations)
        exact = start + jnp.minimum(next_frontier(inside, matching, size), length)
        info = StepInfo(
            residual=jnp.where(complete, residual, jnp.inf),
            frontier=jnp.where(failed, frontier, exact).astype(jnp.int32),
            num_steps=1,
            sweeps=length / num_equations,
        )
        following = GSJacobiState(
            start=jnp.where(move & ~complete, start + size, start),
            cache=jax.tree.map(lambda new, old: jnp.where(move, new, old), new_cache, cache),
        )
        return put_block(x, values, start), following, info


def _keep_inside(inside: Bool[Array, "S 1"], values: Any, guess: Any) -> Any:
    """The values of the block's real equations; padding stays as guessed, so that it always counts as settled."""

    def keep(value: Array, old: Array) -> Array:
        return jnp.where(inside.reshape((-1,) + (1,) * (value.ndim - 1)), value, old)

    return jax.tree.map(keep, values, guess)
