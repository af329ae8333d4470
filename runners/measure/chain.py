"""What a step of a solver is made of, where it is more than one evaluation."""

from __future__ import annotations

from typing import Any

from solvers import AffineMarkovSystem
from solvers.linear.prefix_scan import chain_length


def chain_of(solver: Any, num_equations: int) -> dict[str, int]:
    """The part of a row that tells how many products follow one another in a step that is one prefix scan.

    Empty for all solvers but those of linear systems, whose whole solve is one; others evaluate a network in a step.
    """
    is_scan = AffineMarkovSystem in solver.requires.__mro__
    return {"chain_length": chain_length(num_equations)} if is_scan else {}
