"""Which solver goes with which system: checked once, before anything compiles."""

from __future__ import annotations

from typing import Any

from solvers.solver import Solver
from solvers.system import AffineMarkovSystem, BlockSystem, MarkovSystem, SegmentedSystem, TriangularSystem

# What a system is called in a message: of each group the first that it satisfies.
_PROTOCOLS: tuple[tuple[type, ...], ...] = ((AffineMarkovSystem, MarkovSystem), (BlockSystem,), (SegmentedSystem,))


class PairingError(TypeError):
    """A solver was given a system that lacks what the solver needs."""


def describe(system: Any) -> str:
    """The protocols that a system satisfies, as words with their articles."""
    found = [[protocol for protocol in group if isinstance(system, protocol)] for group in _PROTOCOLS]
    return " and ".join(_named(group[0]) for group in found if group) or _named(TriangularSystem)


def _named(protocol: type) -> str:
    name = protocol.__name__
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


def fits(solver: Any, system: Any) -> bool:
    """Whether ``system`` has what ``solver`` (or the class of one) needs."""
    return isinstance(system, solver.requires)


def check_pairing(system: Any, solver: Solver) -> None:
    """Raise PairingError, naming the solvers that do fit, unless ``system`` has what ``solver`` needs."""
    if isinstance(solver, type):
        raise PairingError(f"{solver.__name__} is a class; an instance is needed: {solver.__name__}()")
    if fits(solver, system):
        return
    from solvers import SOLVERS, solver_name  # the table imports this module's users

    name = type(system).__name__
    if not isinstance(system, TriangularSystem):
        raise PairingError(f"{name} is not a TriangularSystem: it needs num_equations, initial_guess() and sweep(x)")
    usable = ", ".join(other for other, kind in SOLVERS.items() if fits(kind, system))
    raise PairingError(
        f"{solver_name(solver)} needs {_named(solver.requires)}; {name} is {describe(system)}; use {usable}"
    )
