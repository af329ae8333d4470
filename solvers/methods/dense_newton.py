"""Newton's method for systems without order-one structure: the whole Jacobian and a triangular solve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from ..equations import compare, is_segmented, isolated, next_frontier
from ..linear.linearize import num_features, ravel, unravel
from ..linear.step import Linearization, accept
from ..solver import Solver, StepInfo
from ..system import TriangularSystem


@dataclass(frozen=True)
class DenseNewton(Solver):
    """x <- x + d, where (I - J) d = F(x) - x with the dense Jacobian J of the sweep.

    J has N = T * D rows and columns for each sample, equations in order, and is strictly lower triangular, so d is one
    triangular solve. N forward derivatives, O(N^2) memory and arithmetic a step: for small systems, where it shows how
    few Newton steps the equations need. Samples are taken to be independent. The exact prefix takes F(x) itself, so
    that T steps suffice; class ids and other integers take F(x) too.

    ``max_jacobian_mib``: larger Jacobians, all samples together, are refused.
    """

    requires: ClassVar[type] = TriangularSystem
    max_jacobian_mib: int = 1024
    tol: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_jacobian_mib < 1:
            raise ValueError(f"max_jacobian_mib must be at least 1, not {self.max_jacobian_mib}")

    def init(self, system: Any, x: Any) -> None:
        """No state: Newton's method remembers nothing but x. Raises ValueError where the Jacobian is too large."""
        flat = jax.eval_shape(lambda x: _flatten(x, system.num_equations), x)
        batch, size = flat.shape
        mebibytes = batch * size**2 * flat.dtype.itemsize / 2**20
        if mebibytes > self.max_jacobian_mib:
            raise ValueError(
                f"dense_newton needs a Jacobian of {size} x {size} numbers for each of {batch} samples, "
                f"{math.ceil(mebibytes)} MiB, more than max_jacobian_mib, {self.max_jacobian_mib}; use jacobi, or "
                "newton where the system is a MarkovSystem"
            )

    def step(self, system: Any, x: Any, state: None, frontier: Int[Array, " B"]) -> tuple[Any, None, StepInfo]:
        """One evaluation with its Jacobian, and one triangular solve."""
        num_equations = system.num_equations
        at = _flatten(x, num_equations)
        blank = (x, jnp.zeros((*at.shape, at.shape[1]), at.dtype))
        y, jacobian = isolated(_with_jacobian, blank, system, x)
        residual, matching = compare(y, x, num_equations)
        here = Linearization(y, jacobian, residual, next_frontier(frontier, matching, num_equations))
        gap = _flatten(y, num_equations) - at
        # Only what is below the diagonal is read, the diagonal being that of I - J.
        step = solve_triangular(-jacobian, gap[..., None], lower=True, unit_diagonal=True)[..., 0]
        proposal = _unflatten(at + step, y, num_equations)
        new = accept(system, x, proposal, here, self.tol, trusted=math.sqrt(self.tol))
        return new, None, StepInfo(residual, here.frontier, 1, 1.0 + at.shape[1])


def _with_jacobian(system: Any, x: Any) -> tuple[Any, Float[Array, "B N N"]]:
    """F(x) and for each sample its Jacobian, by a forward derivative along every feature of all samples at once."""
    num_equations = system.num_equations
    flat = _flatten(x, num_equations)

    def sweep(flat: Float[Array, "B N"]) -> tuple[Float[Array, "B N"], Any]:
        y = system.sweep(_unflatten(flat, x, num_equations))
        return _flatten(y, num_equations), y

    _, push, y = jax.linearize(sweep, flat, has_aux=True)

    def column(i: Int[Array, ""]) -> Float[Array, "B N"]:
        return push(jnp.broadcast_to((jnp.arange(flat.shape[1]) == i).astype(flat.dtype), flat.shape))

    return y, jnp.moveaxis(lax.map(column, jnp.arange(flat.shape[1])), 0, -1)


def _flatten(x: Any, num_equations: int) -> Float[Array, "B N"]:
    """The floating-point values of a state, for each sample in the order of the equations."""
    if not is_segmented(x, num_equations):
        return _rows(ravel(x))
    floats = [leaf for leaf in jax.tree.leaves(x) if _is_float(leaf)]
    return jnp.concatenate([_rows(ravel(leaf)) for leaf in floats or jax.tree.leaves(x)[:1]], axis=1)


def _unflatten(flat: Float[Array, "B N"], like: Any, num_equations: int) -> Any:
    """The inverse of ``_flatten``: ``like`` with its floating-point leaves taken from ``flat``."""
    if not is_segmented(like, num_equations):
        return unravel(_columns(flat, num_equations), like)
    leaves, treedef = jax.tree.flatten(like)
    offset, filled = 0, []
    for leaf in leaves:
        width = leaf.shape[0] * num_features(leaf) if _is_float(leaf) else 0
        part = flat[:, offset : offset + width]
        filled.append(unravel(_columns(part, leaf.shape[0]), leaf) if width else leaf)
        offset += width
    return jax.tree.unflatten(treedef, filled)


def _rows(flat: Float[Array, "S B D"]) -> Float[Array, "B N"]:
    return jnp.swapaxes(flat, 0, 1).reshape(flat.shape[1], flat.shape[0] * flat.shape[2])


def _columns(flat: Float[Array, "B N"], length: int) -> Float[Array, "S B D"]:
    return jnp.swapaxes(flat.reshape(flat.shape[0], length, flat.shape[1] // max(1, length)), 0, 1)


def _is_float(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
