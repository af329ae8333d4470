"""Parareal: blocks of an order-one system side by side, joined by a coarse pass over their ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from ..equations import compare, isolated, prefix_mask, select
from ..solver import Solver, StepInfo
from ..system import CoarseMarkovSystem, MarkovSystem
from ..trees.blocks import Start


@dataclass(frozen=True)
class Parareal(Solver):
    """u_{n+1} <- F(u_n^old) + G(u_n) - G(u_n^old): F goes through block n by its equations, G at once.

    u_n is the state before block n. All F run side by side, then the G one after the other: a round. (Lions, Maday and
    Turinici, "Resolution d'EDP par un schema en temps parareel", 2001; with a diffusion model's sampler for F it is
    SRDS, arXiv 2412.08292. Multigrid in time, MGRIT, with two levels and relaxation of F-points is the same iteration.)
    A block more is exact after each round, so that as many rounds as blocks suffice; few do where G is near F.

    G is the system's own ``coarse`` (CoarseMarkovSystem), or else one larger step: the state and its first increment
    times the length of the block. ``num_blocks`` None: about sqrt(T), which makes a round shortest. A round counts as
    the steps that follow one another in it: the length of a block, and one for each block.
    """

    requires: ClassVar[type] = MarkovSystem
    num_blocks: int | None = None
    tol: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_blocks is not None and self.num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, not {self.num_blocks}")

    def block_length(self, system: Any) -> int:
        """L, the number of equations in each block but the last, which may be shorter."""
        num_equations = int(system.num_equations)
        return max(1, -(-num_equations // (self.num_blocks or max(1, math.isqrt(num_equations)))))

    def max_steps(self, system: Any) -> int:
        """One round for each block, and one that confirms."""
        return -(-int(system.num_equations) // self.block_length(system)) + 1

    def step(self, system: Any, x: Any, state: None, frontier: Int[Array, " B"]) -> tuple[Any, None, StepInfo]:
        """One round."""
        num_equations, length = system.num_equations, self.block_length(system)
        num_blocks = -(-num_equations // length)
        ends = jax.tree.map(lambda leaf: leaf[length - 1 :: length][: num_blocks - 1], x)
        old = jax.tree.map(lambda first, leaf: jnp.concatenate([first[None], leaf]), system.initial_state, ends)
        y = isolated(lambda system, old, x: _fine(system, old, x, length), x, system, old, x)
        residual, matching, relative = compare(y, x, num_equations)
        # The block that holds the first disagreement started from an exact prefix, so all of it is exact now.
        exact_blocks = jnp.maximum(frontier, matching) // length + 1
        exact = jnp.minimum(exact_blocks * length, num_equations).astype(jnp.int32)
        joined = _joined(system, old, y, length)
        info = StepInfo(residual, exact, length + num_blocks, 1.0 + 2 * num_blocks / num_equations, relative)
        # A sample that has met the tolerance has nothing to gain from G, and might be led away by it.
        done = prefix_mask(exact, num_equations) | info.meets(self.tol, x)
        return select(done, y, joined), None, info


def _fine(system: Any, starts: Any, x: Any, length: int) -> Any:
    """F: every block from its start, equation by equation, laid out as ``x``."""
    num_equations = system.num_equations
    firsts = jnp.arange(0, num_equations, length)

    def advance(states: Any, i: Int[Array, ""]) -> tuple[Any, Any]:
        # Past the end, in a last block that is shorter, stands the last equation again, which nobody reads.
        following = jax.vmap(system.transition)(states, jnp.minimum(firsts + i, num_equations - 1))
        return following, following

    _, rows = lax.scan(advance, starts, jnp.arange(length))  # leaves (L, N, B, ...)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:])[:num_equations], rows)


def _joined(system: Any, old: Any, y: Any, length: int) -> Any:
    """``y`` with the corrected states at the ends of all blocks but the last."""
    num_equations = system.num_equations
    firsts = jnp.arange(0, num_equations, length)[:-1]
    if not len(firsts):
        return y
    reached = jax.tree.map(lambda leaf: leaf[length - 1 :: length][: len(firsts)], y)
    foreseen = jax.vmap(lambda u, start: _coarse(system, u, start, length))(
        jax.tree.map(lambda leaf: leaf[:-1], old), firsts
    )

    def correct(u: Any, row: tuple[Any, Any, Int[Array, ""]]) -> tuple[Any, Any]:
        fine, before, start = row
        new = jax.tree.map(_corrected, fine, _coarse(system, u, start, length), before)
        return new, new

    _, states = lax.scan(correct, system.initial_state, (reached, foreseen, firsts))
    return jax.tree.map(lambda leaf, ends: leaf.at[firsts + length - 1].set(ends), y, states)


def _corrected(fine: Array, new: Array, old: Array) -> Array:
    return (fine + (new - old)).astype(fine.dtype) if jnp.issubdtype(fine.dtype, jnp.inexact) else fine


def _coarse(system: Any, u: Any, start: Start, length: int) -> Any:
    """G: the system's own, or one step of the length of a block."""
    if isinstance(system, CoarseMarkovSystem):
        return system.coarse(u, start, length)
    first = system.transition(u, jnp.asarray(start))
    return jax.tree.map(
        lambda a, b: (a + length * (b - a)).astype(b.dtype) if jnp.issubdtype(b.dtype, jnp.inexact) else b, u, first
    )
