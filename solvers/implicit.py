"""The derivative of a solution by the implicit function theorem: one more triangular solve instead of a stored loop.

With x = F(x; w) and J = dF/dx, which is strictly lower triangular, a tangent dw of the parameters becomes one of x by
(I - J) dx = (dF/dw) dw (tangent.py), and a cotangent v of x one of the parameters by

    u = v + J^T u,    dw = (dF/dw)^T u.

The equations of u, read from the last to the first, are a triangular system again (Bai, Kolter and Koltun, "Deep
equilibrium models", 2019, use the same identity; here it is exact, because triangular systems have one solution).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from .equations import is_segmented
from .iterate import iterate
from .linear.linearize import conjugation, jacobians, ravel
from .methods.jacobi import Jacobi
from .methods.parallel_scan import ParallelScan
from .methods.sequential import CachedSequential
from .pairing import PairingError, fits, with_article
from .solution import Solution, Status
from .solver import Solver
from .system import MarkovSystem
from .systems.recurrence import Recurrence, shifted
from .tangent import Leaves, MarkovTangent, TangentSystem, floats, with_floats
from .trees.blocks import Start, take_block
from .trees.precision import full_products
from .trees.pytree import pytree

X = TypeVar("X")


@pytree
@dataclass(frozen=True)
class AdjointSystem:
    """u = v + J^T u in reverse: equation s is equation T-1-s of ``system``, linearized at its solution ``x``.

    The state is a list of leaves. Satisfies TriangularSystem.
    """

    system: Any
    x: Any
    cotangent: Leaves  # v, in the order of ``system``

    @property
    def num_equations(self) -> int:
        """T, or where the equations are segments of a state the number of those that have derivatives."""
        lengths = [leaf.shape[0] for leaf in self.cotangent]
        return sum(lengths) if self._segmented else lengths[0]

    def initial_guess(self) -> Leaves:
        """Zeros, as if nothing that follows had a say."""
        return [jnp.zeros_like(leaf) for leaf in self.reverse(self.cotangent)]

    def sweep(self, u: Leaves) -> Leaves:
        """All equations at once, v + J^T u."""
        _, pull = jax.vjp(lambda leaves: floats(self.system.sweep(with_floats(self.x, leaves))), floats(self.x))
        (pulled,) = pull(self.reverse(u))
        return self.reverse([v + p for v, p in zip(self.cotangent, pulled, strict=True)])

    def reverse(self, leaves: Leaves) -> Leaves:
        """The leaves in the adjoint's order from those in the system's, or back."""
        flipped = [leaf[::-1] for leaf in leaves]
        return flipped[::-1] if self._segmented else flipped

    @property
    def _segmented(self) -> bool:
        return is_segmented(self.x, self.system.num_equations)


@pytree
@dataclass(frozen=True)
class MarkovAdjoint(Recurrence):
    """The adjoint of an order-one system: u_t = v_t + J_{t+1}^T u_{t+1}, equation s being t = T-1-s.

    Satisfies AffineMarkovSystem, SlidingBlockSystem and ForwardSubstitution.
    """

    system: Any
    x: Any
    cotangent: Leaves

    @property
    def num_equations(self) -> int:
        """T, as many as the system's."""
        return int(self.system.num_equations)

    @property
    def initial_state(self) -> Leaves:
        """Zeros, as nothing follows the last equation."""
        return [jnp.zeros(leaf.shape[1:], leaf.dtype) for leaf in self.cotangent]

    def transitions(self, previous: Leaves, start: Start) -> Leaves:
        """u_t from u_{t+1}, by the transposed derivative of transition t + 1 at x_t."""
        size = previous[0].shape[0]
        points = take_block(jax.tree.map(lambda leaf: leaf[::-1], self.x), start, size)
        inputs = take_block(self.reverse(self.cotangent), start, size)
        # Nothing follows the last equation: its row reads a zero, through whichever transition stands there.
        following = jnp.minimum(self.num_equations - start - jnp.arange(size), self.num_equations - 1)
        pulled = jax.vmap(self._pull)(previous, points, following)
        return [v + p for v, p in zip(inputs, pulled, strict=True)]

    def affine(self) -> tuple[Float[Array, "T B D D"], Float[Array, "T B D"]]:
        """The transposed Jacobians, and the cotangents."""
        _, forward = jacobians(self.system, shifted(self.system.initial_state, self.x), 0)
        # Cotangents pair with tangents as u * t does, without a conjugate, where the transpose of real parts has one.
        signs = conjugation(self.cotangent)
        transposed = jnp.swapaxes(jnp.roll(forward[::-1], 1, axis=0), -1, -2)
        return signs[:, None] * transposed * signs, ravel(self.reverse(self.cotangent))

    def reverse(self, leaves: Leaves) -> Leaves:
        """The leaves in the adjoint's order from those in the system's, or back."""
        return [leaf[::-1] for leaf in leaves]

    def _pull(self, following: Leaves, point: Any, t: Int[Array, ""]) -> Leaves:
        """J_t^T u for one t, the cotangent of what transition t reads."""
        _, pull = jax.vjp(lambda leaves: floats(self.system.transition(with_floats(point, leaves), t)), floats(point))
        (pulled,) = pull(following)
        result: Leaves = pulled
        return result


def differentiable(system: Any, solution: Solution[Any], adjoint: Solver) -> Solution[Any]:
    """The solution of ``system``, its value differentiable in the system's leaves by a solve with ``adjoint``."""
    return dataclasses.replace(solution, value=with_implicit_gradient(adjoint, system, solution.value))


def default_adjoint(system: Any, solver: Solver) -> Solver:
    """The solver of the adjoint equations unless the caller says: a parallel one where one found the solution."""
    if not isinstance(system, MarkovSystem):
        return Jacobi()
    return ParallelScan() if MarkovSystem in solver.requires.__mro__ else CachedSequential()


def check_adjoint(system: Any, adjoint: Solver) -> None:
    """Raise PairingError unless ``adjoint`` can solve the adjoint equations of ``system``."""
    _, kind = _kinds(system)
    if not fits(adjoint, kind):
        scans = "parallel_scan, cached_sequential, " if kind is MarkovAdjoint else ""
        raise PairingError(
            f"adjoint: {type(adjoint).__name__} needs {with_article(adjoint.requires)}, which the adjoint equations of "
            f"{type(system).__name__} are not; use {scans}jacobi or another solver of any system"
        )


def _kinds(system: Any) -> tuple[Any, Any]:
    """The classes of the tangent's and of the adjoint's equations."""
    if isinstance(system, MarkovSystem):
        return MarkovTangent, MarkovAdjoint
    return TangentSystem, AdjointSystem


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def with_implicit_gradient(adjoint: Solver, system: Any, x: X) -> X:
    """``x``, the solution of ``system``, as a differentiable function of the system's leaves."""
    return x


@with_implicit_gradient.defjvp
@full_products  # a derivative of a compiled solve is traced after the solve
def _with_tangent(adjoint: Solver, primals: tuple[Any, X], tangents: tuple[Any, X]) -> tuple[X, Any]:
    """The solution, and its tangent by (I - J) t = (dF/dw) dw, which ``adjoint`` solves as it solves the transpose."""
    system, x = primals[0], with_implicit_gradient(adjoint, *primals)  # so that further derivatives see x move
    _, offset = jax.jvp(lambda system: floats(system.sweep(x)), (system,), (tangents[0],))
    _, push = jax.linearize(lambda leaves: floats(system.sweep(with_floats(x, leaves))), floats(x))
    forward, backward = _kinds(system)

    def solve_forward(_: Any, offset: Leaves) -> Leaves:
        return _found(forward(system, x, offset), adjoint)

    def solve_backward(_: Any, cotangent: Leaves) -> Leaves:
        equations = backward(system, x, cotangent)
        return equations.reverse(_found(equations, adjoint))

    tangent = lax.custom_linear_solve(
        lambda t: [a - b for a, b in zip(t, push(t), strict=True)], offset, solve_forward, solve_backward
    )
    return x, with_floats(jax.tree.map(_no_tangent, x), tangent)


def _found(equations: Any, solver: Solver) -> Leaves:
    """The solution of linear equations, NaN where it was not found: neither what stands there nor zeros may pass."""
    solution = iterate(equations, solver)
    found = solution.sample_status == Status.CONVERGED
    return [_where(found, leaf) for leaf in solution.value]


def _where(found: Bool[Array, " B"], leaf: Array) -> Array:
    """The leaf (T, B, ...), but NaN in the samples that were not found."""
    if leaf.ndim == 1:
        return jnp.where(found[0], leaf, jnp.nan)
    return jnp.where(found.reshape((1, -1) + (1,) * (leaf.ndim - 2)), leaf, jnp.nan)


def _no_tangent(leaf: Array) -> Any:
    """What stands for the tangent of class ids; a floating-point leaf, whose own tangent takes its place, as it is."""
    return leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else np.zeros(leaf.shape, jax.dtypes.float0)
