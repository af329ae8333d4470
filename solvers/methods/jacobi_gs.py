"""Jacobi-GS: Jacobi over blocks, Gauss-Seidel inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from solvers.equations import block_length, compare, count_blocks, isolated
from solvers.methods.sequential import substitute_forward
from solvers.solver import StepInfo
from solvers.system import BlockSystem


@dataclass(frozen=True)
class JacobiGS:
    """All blocks in parallel, each by forward substitution from the cache that the last guess gives it.

    A step is one sweep for the caches and then ``block_size`` cached evaluations, side by side in all blocks (Song et
    al., ICML 2021). Block k is exact after k + 1 steps.
    """

    requires: ClassVar[type] = BlockSystem
    block_size: int = 16
    tol: float = 0.0

    def __post_init__(self) -> None:
        if self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, not {self.block_size}")

    def max_steps(self, system: Any) -> int:
        """One step a block and the one that confirms."""
        return count_blocks(system, block_length(system, self.block_size)) + 1

    def init(self, system: Any, x: Any) -> None:
        """Jacobi-GS remembers nothing but x."""

    def step(self, system: Any, x: Any, state: None, frontier: Int[Array, " B"]) -> tuple[Any, None, StepInfo]:
        """One round over all blocks."""
        num_equations, size = system.num_equations, block_length(system, self.block_size)
        y = isolated(lambda system, x: _all_blocks(system, x, size), x, system, x)
        residual, matching = compare(y, x, num_equations)
        # The block that holds the first disagreement started from an exact prefix, so all of it is exact now.
        exact_blocks = jnp.maximum(frontier, matching) // size + 1
        frontier = jnp.minimum(exact_blocks * size, num_equations).astype(jnp.int32)
        return y, None, StepInfo(residual, frontier, 1 + size, 2.0)


def _all_blocks(system: Any, x: Any, size: int) -> Any:
    """Every block by forward substitution, from the caches that one sweep over x gives."""
    starts = jnp.arange(count_blocks(system, size), dtype=jnp.int32) * size
    caches = system.prefix_caches(x, size)
    values, _ = jax.vmap(lambda cache, start: substitute_forward(system, cache, start, size))(caches, starts)

    def join(blocks: Array, old: Array) -> Array:
        return blocks.reshape((-1,) + old.shape[1:])[: old.shape[0]].astype(old.dtype)

    return jax.tree.map(join, values, x)
