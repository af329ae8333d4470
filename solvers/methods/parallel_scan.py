"""The exact answer of a linear system of order one, by one prefix scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Int

from ..equations import compare, isolated, next_frontier, prefix_mask, select
from ..linear.blocks import products
from ..linear.linearize import in_reals, ravel, unravel
from ..linear.prefix_scan import affine_scan
from ..solver import Solver, StepInfo
from ..system import AffineMarkovSystem
from ..systems.recurrence import shifted


@dataclass(frozen=True)
class ParallelScan(Solver):
    """All of x_t = A_t x_{t-1} + b_t by one affine prefix scan (Blelloch, "Prefix sums and their applications", 1990).

    A step scans what the equations lack at x, x <- x + d with d_t = A_t d_{t-1} + (A_t x_{t-1} + b_t - x_t), and holds
    the outcome against F in the same step: one step solves, and further ones, where rounding leaves more than ``tol``,
    refine. The exact prefix takes F(x) itself, so that T steps suffice even where products of A overflow.
    """

    requires: ClassVar[type] = AffineMarkovSystem
    tol: float = 1e-6

    def step(self, system: Any, x: Any, state: None, frontier: Int[Array, " B"]) -> tuple[Any, None, StepInfo]:
        """One scan, and the sweep that checks it."""
        num_equations = system.num_equations
        a, b = system.affine()
        if a.ndim == b.ndim + 1:  # full ones, which may be complex
            a, b = in_reals(a, b, x)
        at = ravel(x)
        lacking = products(a, ravel(shifted(system.initial_state, x))) + b - at
        scanned = unravel(at + affine_scan(a, lacking, jnp.zeros_like(at[0])), x)
        new = select(prefix_mask(frontier, num_equations), x, scanned)
        y = isolated(system.sweep, new, new)
        residual, matching, relative = compare(y, new, num_equations)
        frontier = next_frontier(frontier, matching, num_equations)
        new = select(prefix_mask(frontier, num_equations), y, new)
        # The evaluation of A and b is counted as a sweep.
        return new, None, StepInfo(residual, frontier, 1, 2.0, relative)
