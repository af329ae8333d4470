"""Triangular Anderson acceleration: histories mixed equation by equation, by weights that a prefix alone decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..composite import CompositeSolver
from ..equations import prefix_mask, select
from ..linear.histories import difference, gram_before, mixed, push
from ..linear.matrices import matrices
from ..solver import Solver, StepInfo
from ..system import TriangularSystem
from .jacobi import Jacobi
from .newton import Newton


class History(NamedTuple):
    """The last results of the inner solver and how far each was from what it came from, the newest first."""

    results: Any  # leaves (M, T, B, ...)
    changes: Any
    taken: Int[Array, ""]
    inner: Any  # the inner solver's state


@dataclass(frozen=True)
class TriangularAnderson(CompositeSolver):
    """x_t <- g_t - sum_j c_tj (g_t - g_t^(j)), where g = G(x) is the inner solver's step and g^(j) are earlier ones.

    The weights c_t of an equation minimize |r - sum_j c_tj (r - r^(j))|^2, r = G(x) - x, over the equations before t
    alone, plus ``regularization`` times the mean of |r - r^(j)|^2 times |c_t|^2 (after Tang et al., "Accelerating
    parallel sampling of diffusion models", ICML 2024, arXiv 2402.09970: ParaTAA). So what has not settled further on
    has no say in what comes before, an equation behind a settled prefix takes G(x) itself, exact prefixes stay exact,
    and the inner solver's bound holds.

    An equation takes G(x) too where the last step has not made the residual before it smaller, and where the best
    combination leaves more than ``unexplained`` of its square: then the past does not tell where the iteration goes, as
    for pixels that depend on one another, and a mixture would only come later to values that G(x) has at once. Smooth
    maps, such as Picard's of differential equations, gain with 0.3 and more. Class ids and other integers are those of
    the inner solver.

    ``solver``: Jacobi, or for order-one systems one of Newton's family.
    """

    requires: ClassVar[type] = TriangularSystem
    admitted: ClassVar[str] = "Jacobi() and Newton's family"
    solver: Solver = Jacobi()
    history_size: int = 3
    regularization: float = 1e-3
    unexplained: float = 0.02
    tol: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.history_size < 2:
            raise ValueError(f"history_size must be at least 2, not {self.history_size}")
        if not self.regularization > 0.0:
            raise ValueError(f"regularization must be positive, not {self.regularization}")
        if not 0.0 <= self.unexplained <= 1.0:
            raise ValueError(f"unexplained must be from 0 to 1, not {self.unexplained}")

    @classmethod
    def admits(cls, solver: Solver) -> bool:
        """Solvers that remember nothing of x but x, and take a step at all equations at once."""
        return isinstance(solver, Jacobi | Newton)

    def parts(self, system: Any) -> list[tuple[Any, Solver]]:
        """All of the system, by the inner solver."""
        return [(system, self.inner)]

    def max_steps(self, system: Any) -> int:
        """The inner solver's bound, as an exact prefix grows as it does there."""
        return self.inner.max_steps(system)

    def init(self, system: Any, x: Any) -> History:
        """A history that holds nothing yet."""
        empty = jax.tree.map(lambda leaf: jnp.zeros((self.history_size, *leaf.shape), leaf.dtype), x)
        return History(empty, empty, jnp.int32(0), self.inner.init(system, x))

    def step(self, system: Any, x: Any, state: History, frontier: Int[Array, " B"]) -> tuple[Any, History, StepInfo]:
        """One step of the inner solver, and the best combination with earlier ones."""
        num_equations = system.num_equations
        result, inner, info = self.inner.step(system, x, state.inner, frontier)
        # What overflowed says nothing about the direction to go: it enters the history as "no change".
        tame = jax.tree.map(lambda a, b: jnp.where(jnp.isfinite(a), a, b), result, x)
        results = jax.tree.map(push, state.results, tame)
        changes = jax.tree.map(lambda rows, a, b: push(rows, difference(a, b)), state.changes, tame, x)
        weights = self._weights(gram_before(changes, num_equations), jnp.arange(self.history_size) <= state.taken)
        better = mixed(weights, results, result, num_equations)
        new = select(prefix_mask(info.frontier, num_equations), result, better)
        return new, History(results, changes, state.taken + 1, inner), info

    def _weights(self, gram: Float[Array, "T B M M"], filled: Bool[Array, " M"]) -> Float[Array, "T B N"]:
        """The weights c of the N = M - 1 earlier results, for every equation and sample."""
        newest = gram[..., :1, :1]
        usable = filled[1:] & jnp.isfinite(newest[..., 0])
        both = usable[..., :, None] & usable[..., None, :]
        normal = newest - gram[..., :1, 1:] - gram[..., 1:, :1] + gram[..., 1:, 1:]
        toward = newest[..., 0] - gram[..., 0, 1:]
        normal, toward = jnp.where(both, normal, 0.0), jnp.where(usable, toward, 0.0)
        mean = jnp.trace(normal, axis1=-2, axis2=-1)[..., None] / (self.history_size - 1)
        ridge = self.regularization * mean + jnp.finfo(gram.dtype).tiny
        algebra = matrices(normal)
        lower = algebra.cholesky(algebra.plus_identity(normal / ridge[..., None]))
        inverse = algebra.solve(lower, algebra.identity(jnp.ones_like(mean[..., 0]), self.history_size - 1))
        weights = algebra.apply(algebra.transpose(inverse), algebra.apply(inverse, toward / ridge))
        helped = newest[..., 0] < gram[..., 1, 1][..., None]
        left = newest[..., 0, 0] - jnp.sum(weights * (2 * toward - algebra.apply(normal, weights)), axis=-1)
        explained = left <= self.unexplained * newest[..., 0, 0]
        return jnp.where(helped & explained[..., None], weights, 0.0)
