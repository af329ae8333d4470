"""The equations of a solution's tangent, t = (dF/dw) dw + J t: triangular and linear, in the order of the system's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .linear.linearize import jacobians, ravel
from .systems.recurrence import Recurrence, shifted
from .trees.blocks import Start, take_block
from .trees.pytree import pytree

X = TypeVar("X")
Leaves = list[Array]  # the floating-point leaves of a state: class ids have no derivative


def floats(x: Any) -> Leaves:
    """The floating-point leaves of a state."""
    return [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def with_floats(x: X, leaves: Leaves) -> X:
    """The state with other floating-point leaves."""
    own, treedef = jax.tree.flatten(x)
    remaining = iter(leaves)
    result: X = jax.tree.unflatten(
        treedef, [next(remaining) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf for leaf in own]
    )
    return result


@pytree
@dataclass(frozen=True)
class TangentSystem:
    """t = offset + J t, where J is the Jacobian of ``system`` at its solution ``x``. Satisfies TriangularSystem."""

    system: Any
    x: Any
    offset: Leaves

    @property
    def num_equations(self) -> int:
        """T, or where the equations are segments of a state the number of those that have derivatives."""
        lengths = [leaf.shape[0] for leaf in self.offset]
        same = all(leaf.shape[0] == self.system.num_equations for leaf in jax.tree.leaves(self.x))
        return lengths[0] if same else sum(lengths)

    def initial_guess(self) -> Leaves:
        """Zeros, as if the parameters had no say."""
        return [jnp.zeros_like(leaf) for leaf in self.offset]

    def sweep(self, t: Leaves) -> Leaves:
        """All equations at once, offset + J t."""
        _, pushed = jax.jvp(
            lambda leaves: floats(self.system.sweep(with_floats(self.x, leaves))), (floats(self.x),), (t,)
        )
        return [a + b for a, b in zip(self.offset, pushed, strict=True)]


@pytree
@dataclass(frozen=True)
class MarkovTangent(Recurrence):
    """The tangent of an order-one system: t_s = offset_s + J_s t_{s-1}.

    Satisfies AffineMarkovSystem, SlidingBlockSystem and ForwardSubstitution.
    """

    system: Any
    x: Any
    offset: Leaves

    @property
    def num_equations(self) -> int:
        """T, as many as the system's."""
        return int(self.system.num_equations)

    @property
    def initial_state(self) -> Leaves:
        """Zeros: what moves with the state before the first equation is part of the offset."""
        return [jnp.zeros(leaf.shape[1:], leaf.dtype) for leaf in self.offset]

    def transitions(self, previous: Leaves, start: Start) -> Leaves:
        """Each tangent from the one before it, by the derivative of its transition."""
        size = previous[0].shape[0]
        points = take_block(shifted(self.system.initial_state, self.x), start, size)
        times = jnp.minimum(start + jnp.arange(size), self.num_equations - 1)
        pushed = jax.vmap(self._push)(previous, points, times)
        return [a + b for a, b in zip(take_block(self.offset, start, size), pushed, strict=True)]

    def affine(self) -> tuple[Float[Array, "T B D D"], Float[Array, "T B D"]]:
        """The Jacobians, and the offsets."""
        _, matrices = jacobians(self.system, shifted(self.system.initial_state, self.x), 0)
        return matrices, ravel(self.offset)

    def _push(self, tangent: Leaves, point: Any, t: Int[Array, ""]) -> Leaves:
        """J_t times the tangent of what transition t reads."""
        _, pushed = jax.jvp(
            lambda leaves: floats(self.system.transition(with_floats(point, leaves), t)), (floats(point),), (tangent,)
        )
        result: Leaves = pushed
        return result
