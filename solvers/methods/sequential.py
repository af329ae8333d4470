"""Forward substitution, naive and cached: the baselines that every other solver is held against.

Both are exact by construction. Their residual counts the equations already passed as 0: each was evaluated on an exact
prefix, so there is nothing left to compare it with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from ..blocks import block_length, count_blocks
from ..equations import batch_size, compare, isolated, prefix_mask, select
from ..solver import Solver, StepInfo
from ..system import BlockSystem, ForwardSubstitution, TriangularSystem
from ..trees.blocks import Start, put_block, take_block


@dataclass(frozen=True)
class Sequential(Solver):
    """Naive forward substitution: T full sweeps, of which each keeps one equation.

    Step t: x_t = F(x)_t. Sampling without a cache does this.
    """

    requires: ClassVar[type] = TriangularSystem
    tol: float = 0.0

    def max_steps(self, system: Any) -> int:
        """T steps, one for each equation."""
        return max(1, int(system.num_equations))

    def init(self, system: Any, x: Any) -> Int[Array, ""]:
        """The number of the next equation, 0."""
        return jnp.zeros((), jnp.int32)

    def step(
        self, system: Any, x: Any, state: Int[Array, ""], frontier: Int[Array, " B"]
    ) -> tuple[Any, Int[Array, ""], StepInfo]:
        """One sweep, of which equation ``state`` is kept."""
        num_equations, batch = system.num_equations, batch_size(x)
        y = isolated(system.sweep, x, x)
        here = jnp.broadcast_to(jnp.arange(num_equations)[:, None] == state, (num_equations, batch))
        new = select(here, y, x)
        # Those ahead read equation ``state`` as it was before this step: where it changes they are not solved yet,
        # even if y agrees with x there.
        passed = prefix_mask(jnp.full(batch, jnp.where(state + 1 < num_equations, state, state + 1)), num_equations)
        residual, _, relative = compare(select(passed, x, y), x, num_equations)
        return new, state + 1, StepInfo(residual, jnp.full(batch, state + 1, jnp.int32), 1, 1.0, relative)


@dataclass(frozen=True)
class CachedSequential(Solver):
    """Forward substitution with the system's cache: nothing is computed twice.

    A step passes ``chunk_size`` equations (rounded to what the system allows; 0: an eighth of the system, or all of a
    segment), by the system's own ``forward_substitution`` where it has one, else by one ``update`` an equation.
    """

    requires: ClassVar[type] = BlockSystem
    chunk_size: int = 0
    tol: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk_size < 0:
            raise ValueError(f"chunk_size must be positive, or 0 for the default, not {self.chunk_size}")

    def chunk(self, system: Any) -> int:
        """The number of equations in a step on this system."""
        unit = system.block_unit
        default = -(-system.num_equations // (8 * unit)) * unit
        return block_length(system, self.chunk_size or max(unit, default))

    def for_segment(self, system: Any) -> CachedSequential:
        """With one chunk where no size is given: segments follow one another in steps of their own."""
        if not isinstance(system, BlockSystem):  # which the pairing of both will say
            return self
        unit = system.block_unit
        return replace(self, chunk_size=self.chunk_size or max(1, count_blocks(system, unit)) * unit)

    def max_steps(self, system: Any) -> int:
        """One step for each chunk."""
        return max(1, count_blocks(system, self.chunk(system)))

    def init(self, system: Any, x: Any) -> tuple[Any, Int[Array, ""]]:
        """The cache of the empty prefix, where there is more than one chunk to read it, and the next equation."""
        return system.init_cache() if self.max_steps(system) > 1 else None, jnp.int32(0)

    def step(
        self, system: Any, x: Any, state: tuple[Any, Int[Array, ""]], frontier: Int[Array, " B"]
    ) -> tuple[Any, tuple[Any, Int[Array, ""]], StepInfo]:
        """Forward substitution through one chunk."""
        cache, start = state
        size, num_equations = self.chunk(system), system.num_equations
        # What is behind the only chunk would be computed to be read by none.
        before = system.init_cache() if cache is None else cache
        block, after = substitute_forward(system, before, start, size)
        passed = jnp.minimum(start + size, num_equations)
        residual = jnp.full(frontier.shape, jnp.where(passed == num_equations, 0.0, jnp.inf))
        work = passed - start
        # 0 and inf are what they are in any unit: so no chunk asks how large the whole state is.
        reached = jnp.full(frontier.shape, passed, jnp.int32)
        info = StepInfo(residual, reached, work, work / num_equations, relative=residual[None])
        return put_block(x, block, start), (None if cache is None else after, start + size), info


def substitute_forward(system: Any, cache: Any, start: Start, size: int) -> tuple[Any, Any]:
    """The exact values of equations [start, start + size) and the cache after them, from the cache before them."""
    if isinstance(system, ForwardSubstitution):
        return system.forward_substitution(cache, start, size)
    return substitute_by_updates(system, cache, start, size)


def substitute_by_updates(system: Any, cache: Any, start: Start, size: int) -> tuple[Any, Any]:
    """Forward substitution by ``size`` updates of one equation each, as any block system can do it."""
    guess = system.initial_guess()
    block = take_block(guess, 0, size)

    def body(i: Int[Array, ""], carry: tuple[Any, Any]) -> tuple[Any, Any]:
        values, cache = carry
        value, cache = system.update(take_block(guess, 0, 1), cache, start + i, 1)
        return put_block(values, value, i), cache

    values, cache = lax.fori_loop(0, size, body, (block, cache))
    return values, cache
