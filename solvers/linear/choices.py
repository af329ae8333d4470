"""Which matrices stand for the Jacobians in Newton's family of methods, and what each choice costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..pairing import PairingError
from ..system import StructuredMarkovSystem
from ..trees.blocks import Start
from .linearize import (
    diagonals,
    estimated_diagonals,
    jacobian_blocks,
    jacobian_sweeps,
    jacobians,
    ravel,
    state_features,
    structured,
    transitions,
)

# (system, previous, start) -> the transitions, and what stands for their Jacobians: diagonals (S, B, D), matrices
# (S, B, D, D), or blocks (S, B, K, N, N).
Linearize: TypeAlias = Callable[[Any, Any, Start], tuple[Any, Array]]

CHOICES = ("full", "diagonal", "block_diagonal", "scalar", "identity", "system")
ESTIMATED = ("diagonal", "scalar")  # those that random directions can estimate


def linearization(choice: str, block_size: int, probes: int, draw: Int[Array, ""]) -> Linearize:
    """The function that gives the matrices of a choice; estimates are those of draw number ``draw``."""
    entries = partial(estimated_diagonals, probes=probes, draw=draw) if probes else diagonals
    functions: dict[str, Linearize] = {
        "full": jacobians,
        "diagonal": entries,
        "block_diagonal": partial(jacobian_blocks, block_size=block_size),
        "scalar": partial(_means, entries),
        "identity": _identities,
        "system": structured,
    }
    return functions[choice]


def sweeps_beside(choice: str, probes: int, system: Any) -> int:
    """What the matrices of a choice cost beside the transitions, in sweeps."""
    if choice in ("identity", "system"):
        return int(choice == "system")
    return probes or jacobian_sweeps(system)


def floats_per_equation(choice: str, block_size: int, features: int) -> int:
    """Working memory of a step with such matrices, in numbers for each equation and sample.

    What a system itself tells may be as large as its full Jacobians, and is counted as that.
    """
    if choice == "identity":
        return 12 * features
    entries = {"full": features, "system": features, "block_diagonal": block_size}.get(choice, 0)
    return 3 * entries * features + 16 * features


def check_choice(choice: str, block_size: int, system: Any) -> None:
    """Raise PairingError where a system has no matrices of that choice."""
    name = type(system).__name__
    if choice == "system" and not isinstance(system, StructuredMarkovSystem):
        raise PairingError(
            "jacobian 'system' needs a StructuredMarkovSystem, which has structured_jacobians(previous, start), and "
            f"{name} is none: use 'full' or 'diagonal'"
        )
    if choice == "block_diagonal":
        features = state_features(system)
        if features % block_size:
            valid = [n for n in range(2, features + 1) if features % n == 0]
            raise PairingError(
                f"block_size {block_size} does not divide the {features} features of {name}'s state; use "
                + (f"one of {', '.join(map(str, valid))}" if valid else "another jacobian")
            )


def _means(entries: Linearize, system: Any, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D"]]:
    """The transitions, and the means of their Jacobians' diagonals in the place of every entry."""
    values, found = entries(system, previous, start)
    return values, jnp.broadcast_to(jnp.mean(found, axis=-1, keepdims=True), found.shape)


def _identities(system: Any, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D"]]:
    """The transitions, and ones on the diagonals."""
    return transitions(system, previous, start), jnp.ones_like(ravel(previous))
