"""Sliding GS-Jacobi: a window of Jacobi that moves on as equations become exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int

from ..blocks import BlockSolver, count_blocks
from ..equations import compare, isolated, next_frontier
from ..solver import StepInfo
from ..system import SlidingBlockSystem
from ..trees.blocks import put_block, take_block


class SlidingState(NamedTuple):
    """The start of the window, and the cache of all before it."""

    start: Int[Array, ""]
    cache: Any


@dataclass(frozen=True)
class SlidingGSJacobi(BlockSolver):
    """Jacobi on a window of ``block_size`` equations behind the exact prefix.

    A step is one evaluation of the window, which then moves on by the block units that are exact in all samples, as in
    the code published with Song et al. (ICML 2021), where rows that no longer change leave the window. Against blocks
    in order (``gs_jacobi``), equations are iterated as soon as the window reaches them, not only when all blocks before
    theirs are done: fewer steps for the same window. ``block_size`` None: as the system says, or about sqrt(T); see
    ``default_block_size``.
    """

    requires: ClassVar[type] = SlidingBlockSystem

    def max_steps(self, system: Any) -> int:
        """T steps, one for each time that the whole window was exact, and the one that confirms."""
        return int(system.num_equations) + count_blocks(system, self.block_length(system)) + 1

    def init(self, system: Any, x: Any) -> SlidingState:
        """The window at the first equation, and nothing cached."""
        return SlidingState(jnp.int32(0), system.init_cache())

    def step(
        self, system: Any, x: Any, state: SlidingState, frontier: Int[Array, " B"]
    ) -> tuple[Any, SlidingState, StepInfo]:
        """One evaluation of the window, which leaves behind the units that were exact in it before."""
        start, cache = state
        num_equations, unit = system.num_equations, system.block_unit
        size = min(self.block_length(system), num_equations)
        failed = frontier < 0  # such a sample must not hold up the others
        done = jnp.min(jnp.where(failed, num_equations, frontier))
        keep = jnp.clip(done - start, 0, num_equations - size - start) // unit * unit
        guess = take_block(x, start, size)
        values, cache = isolated(
            lambda system, guess, cache, start, keep: system.slide(guess, cache, start, size, keep),
            (guess, cache),
            system,
            guess,
            cache,
            start,
            keep,
        )
        residual, matching = compare(values, guess, size)
        exact = start + next_frontier(jnp.maximum(frontier - start, 0), matching, size)
        at_end = start + size == num_equations
        info = StepInfo(
            residual=jnp.where(at_end, residual, jnp.inf),
            frontier=jnp.where(failed, frontier, jnp.maximum(frontier, exact)).astype(jnp.int32),
            num_steps=1,
            sweeps=size / num_equations,
        )
        return put_block(x, values, start), SlidingState(start + keep, cache), info
