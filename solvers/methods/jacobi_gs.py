"""Jacobi-GS: Jacobi over blocks, Gauss-Seidel inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..blocks import BlockSolver, count_blocks
from ..equations import compare, isolated
from ..solver import StepInfo
from .sequential import substitute_forward


@dataclass(frozen=True)
class JacobiGS(BlockSolver):
    """All blocks in parallel, each by forward substitution from the cache that the last guess gives it.

    A step is one sweep for the caches and then ``block_size`` cached evaluations, side by side in all blocks (Song et
    al., ICML 2021). Block k is exact after k + 1 steps. ``block_size`` None: as the system says, or about sqrt(T); see
    ``default_block_size``.
    """

    def max_steps(self, system: Any) -> int:
        """One step for each block, and one that confirms."""
        return count_blocks(system, self.block_length(system)) + 1

    def step(self, system: Any, x: Any, state: None, frontier: Int[Array, " B"]) -> tuple[Any, None, StepInfo]:
        """One round over all blocks at once."""
        num_equations, size = system.num_equations, self.block_length(system)
        y = isolated(lambda system, x: _all_blocks(system, x, size), x, system, x)
        residual, matching, relative = compare(y, x, num_equations)
        # The block that holds the first disagreement started from an exact prefix, so all of it is exact now.
        exact_blocks = jnp.maximum(frontier, matching) // size + 1
        frontier = jnp.minimum(exact_blocks * size, num_equations).astype(jnp.int32)
        return y, None, StepInfo(residual, frontier, 1 + size, 2.0, relative)


def _all_blocks(system: Any, x: Any, size: int) -> Any:
    """Every block by forward substitution, from the caches that one sweep over x gives."""
    starts = jnp.arange(count_blocks(system, size), dtype=jnp.int32) * size
    caches = system.prefix_caches(x, size)
    values, _ = jax.vmap(lambda cache, start: substitute_forward(system, cache, start, size))(caches, starts)

    def join(blocks: Array, old: Array) -> Array:
        return blocks.reshape((-1,) + old.shape[1:])[: old.shape[0]].astype(old.dtype)

    return jax.tree.map(join, values, x)
