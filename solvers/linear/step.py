"""The step that the methods of Newton's family share: one linearization, one affine scan, and what of it is taken."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..equations import compare, isolated, next_frontier, prefix_mask, select
from ..systems.recurrence import shifted
from .choices import Linearize
from .linearize import ravel, unravel
from .prefix_scan import affine_scan


class Linearization(NamedTuple):
    """F near x, where F(x + d)_t is about y_t + A_t d_{t-1}, and the comparison of y and x."""

    y: Any
    matrices: Array  # A: (T, B, D, D), diagonals (T, B, D), or blocks (T, B, K, N, N)
    residual: Float[Array, " B"]  # max |y - x|
    frontier: Int[Array, " B"]  # the length of the exact prefix of y
    relative: Float[Array, "T B"]  # the residuals in units of |x| up to each equation; see ``compare``


def scan_step(
    system: Any, x: Any, frontier: Int[Array, " B"], linearize: Linearize, tol: float, trusted: float
) -> tuple[Any, Linearization]:
    """The step of the family: x + d with d_t = (F(x)_t - x_t) + A_t d_{t-1}, made safe by ``accept``.

    A comes from ``linearize``: the full Jacobian, an approximation of it, or the identity (a view of these methods
    as one scan: Gonzalez et al., "A unifying framework for parallelizing sequential models with linear dynamical
    systems", arXiv 2509.21716).
    """
    here = linearized(system, x, frontier, linearize)
    at = ravel(x)
    step = affine_scan(here.matrices, ravel(here.y) - at, jnp.zeros_like(at[0]))
    return accept(system, x, unravel(at + step, here.y), here, tol, trusted), here


def linearized(system: Any, x: Any, frontier: Int[Array, " B"], linearize: Linearize) -> Linearization:
    """F(x) and the matrices that stand for its Jacobians, evaluated once and apart from all that reads them."""

    def evaluate(system: Any, x: Any) -> tuple[Any, Array]:
        return linearize(system, shifted(system.initial_state, x), 0)

    blank = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(evaluate, system, x))
    y, matrices = isolated(evaluate, blank, system, x)
    residual, matching, relative = compare(y, x, system.num_equations)
    return Linearization(y, matrices, residual, next_frontier(frontier, matching, system.num_equations), relative)


def accept(system: Any, x: Any, proposal: Any, here: Linearization, tol: float, trusted: float) -> Any:
    """``proposal``, but F(x) where that is known to be as good or better.

    That is in the exact prefix; and in a sample whose x has met the tolerance, unless it is a step of at most
    ``trusted`` * max(1, |x|) away. The driver takes such a sample for solved, and a step may be anything: where small
    deviations grow along the sequence, or A is not the Jacobian, rounding errors in F(x) - x add up to a large one.
    """
    num_equations = system.num_equations
    moved = compare(proposal, x, num_equations).relative
    settled = jnp.all(here.relative <= tol, axis=0) & ~jnp.all(moved <= trusted, axis=0)
    return select(prefix_mask(here.frontier, num_equations) | settled, here.y, proposal)
