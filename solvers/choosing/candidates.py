"""The solvers, with options, that go with a system: among these one is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from ..blocks import default_block_size
from ..composite import CompositeSolver
from ..equations import batch_size
from ..linear.linearize import ravel
from ..methods.gs_jacobi import GSJacobi
from ..methods.jacobi import Jacobi
from ..methods.jacobi_gs import JacobiGS
from ..methods.newton import Newton, Picard
from ..methods.segmented import Segmented
from ..methods.sequential import CachedSequential
from ..methods.sliding_gs_jacobi import SlidingGSJacobi
from ..methods.triangular_anderson import TriangularAnderson
from ..methods.windowed import Windowed
from ..pairing import require_fit
from ..solver import Solver
from ..system import BlockSystem, MarkovSystem, SegmentedSystem, StructuredMarkovSystem
from ..table import SOLVERS, solver_name

MEMORY_BYTES = 2**31  # what a candidate may hold at once, by its own word
_FLOAT_BYTES = 4
_BLOCKS = (0.5, 1, 2, 4)  # block lengths that are tried, in units of the system's own default


def candidates(
    system: Any,
    *,
    tol: float | None = None,
    without: Collection[str] = (),
    also: Iterable[Solver] = (),
    allowed: Callable[[Solver], bool] = lambda solver: True,
    memory_bytes: int = MEMORY_BYTES,
) -> dict[str, Solver]:
    """Every solver that goes with ``system``, by a label that tells it apart, resolved for the system.

    A solver has its default options; one with blocks comes with several lengths, one with an inner solver with those
    that suit the system. ``also`` are further ones; of these the ones that would be content with less than their class
    is by default are left out. ``tol`` stands in the place of each solver's own tolerance, those of ``also`` too.
    ``without`` names solvers, those inside others too, that are left out; so are those that are not ``allowed``, and
    what would hold more than ``memory_bytes`` by its own word.

    Raises ValueError where ``without`` has a name that no solver has.
    """
    for name in without:
        if name not in SOLVERS:
            raise ValueError(f"without: there is no solver {name!r}; there are {', '.join(SOLVERS)}")
    batch = batch_size(jax.eval_shape(lambda: system.initial_guess()))
    found: dict[str, Solver] = {}
    others = also if tol is not None else (solver for solver in also if solver.tol <= _default(solver, "tol", 0.0))
    for solver in (each.with_tol(tol) for each in (*_variants(system), *others)):
        if not _names(solver).isdisjoint(without) or not allowed(solver):
            continue
        if _goes(system, solver, batch, memory_bytes):
            resolved = solver.resolved(system)
            found.setdefault(label_of(resolved), resolved)
    return found


def is_forward(solver: Solver) -> bool:
    """Whether a solver is forward substitution with caches, also where segments are each solved by it."""
    return isinstance(solver.inner if isinstance(solver, CompositeSolver) else solver, CachedSequential)


def kind(solver: Solver) -> tuple[type[Solver], ...]:
    """The class of a solver, and of those inside it."""
    return (type(solver), *(kind(solver.solver) if isinstance(solver, CompositeSolver) else ()))


def _variants(system: Any) -> Iterator[Solver]:
    """Default instances of all solvers, and options that are worth trying on such a system."""
    yield from (kind() for kind in SOLVERS.values())
    if isinstance(system, BlockSystem):
        for size in _lengths(system):
            yield from (kind(block_size=size) for kind in (GSJacobi, SlidingGSJacobi, JacobiGS))
    if isinstance(system, SegmentedSystem):
        yield from (Segmented(solver=inner) for inner in (CachedSequential(), Jacobi(), GSJacobi()))
    if isinstance(system, MarkovSystem):
        yield from (Windowed(solver=inner, slide=slide) for inner in (Newton(), Picard()) for slide in (False, True))
        yield TriangularAnderson(solver=Picard(), unexplained=0.3)  # smooth maps gain, says its class
    if isinstance(system, StructuredMarkovSystem):
        told = Newton(jacobian="system")
        yield from (told, Windowed(solver=told), TriangularAnderson(solver=told, unexplained=0.3))


def _lengths(system: Any) -> list[int]:
    """Block lengths around the system's default, multiples of its unit that leave two blocks at the least."""
    unit, usual = int(system.block_unit), default_block_size(system)
    near = {max(1, round(factor * usual / unit)) * unit for factor in _BLOCKS}
    return sorted(size for size in near if 1 < size <= system.num_equations // 2)


def _goes(system: Any, solver: Solver, batch: int, memory_bytes: int) -> bool:
    """Whether a solver goes with a system, which everything that compiles nothing is asked about."""
    try:
        require_fit(system, solver)
        solver.max_steps(system)  # refuses block sizes
        # ``init`` refuses large systems. The system is closed over: to take one of many layers apart takes long.
        jax.eval_shape(lambda: solver.init(system, system.initial_guess()))
    except ValueError:
        return False
    needs_features = isinstance(system, MarkovSystem) and solver.floats_per_equation(1) is not None
    features = features_of(system) if needs_features else 0
    if needs_features and not features:
        return False
    floats = solver.floats_per_equation(features) or 0
    return _FLOAT_BYTES * floats * int(system.num_equations) * batch <= memory_bytes


def features_of(system: Any) -> int:
    """How many floats the value of an equation of order one has; 0 where it has others, or the system is no such."""
    if not isinstance(system, MarkovSystem):
        return 0
    try:
        return int(jax.eval_shape(lambda: ravel(system.initial_guess())).shape[-1])
    except ValueError:  # whole numbers
        return 0


def floats_of(x: Any) -> int:
    """How many floats a state, or the shapes of one, holds for each sample: two for each complex number."""
    leaves = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    sizes = [leaf.size * (2 if jnp.issubdtype(leaf.dtype, jnp.complexfloating) else 1) for leaf in leaves]
    return sum(sizes) // max(1, batch_size(x))


def _default(solver: Solver, option: str, otherwise: Any) -> Any:
    """The default of an option of the solver's class; ``otherwise`` where it has none."""
    found = next((field.default for field in dataclasses.fields(solver) if field.name == option), dataclasses.MISSING)
    return otherwise if found is dataclasses.MISSING else found


def labels_of(system: Any, solvers: Iterable[Solver]) -> set[str]:
    """The labels that solvers have among the candidates of ``system``, of those that go with it."""
    found = set()
    for solver in solvers:
        try:
            require_fit(system, solver)
            found.add(label_of(solver.resolved(system)))
        except ValueError:
            continue
    return found


def _names(solver: Solver) -> set[str]:
    """The names of a solver and of those inside it."""
    inner = _names(solver.solver) if isinstance(solver, CompositeSolver) else set()
    return {solver_name(solver)} | inner


def label_of(solver: Solver) -> str:
    """The solver's name with the options that are not its default: ``gs_jacobi(block_size=28)``."""
    told = [
        f"{field.name}={label_of(value) if isinstance(value, Solver) else value}"
        for field in dataclasses.fields(solver)
        if (value := getattr(solver, field.name)) != _default(solver, field.name, dataclasses.MISSING)
    ]
    return f"{solver_name(solver)}({', '.join(told)})" if told else solver_name(solver)
