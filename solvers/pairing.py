"""Which solver goes with which system: checked once, before anything compiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .solver import Solver
from .system import AffineMarkovSystem, BlockSystem, MarkovSystem, SegmentedSystem, TriangularSystem

# What a system is called in a message: of each group the first that it satisfies.
_PROTOCOLS: tuple[tuple[type, ...], ...] = ((AffineMarkovSystem, MarkovSystem), (BlockSystem,), (SegmentedSystem,))


class PairingError(ValueError):
    """A solver was given a system that lacks what the solver needs."""


def fits(solver: Solver | type[Solver], system: Any) -> bool:
    """Whether ``system`` has what ``solver`` (or the class of one) needs."""
    return isinstance(system, solver.requires)


def require_fit(system: Any, solver: Solver, known: Mapping[str, type[Solver]] | None = None) -> None:
    """Raise PairingError unless ``system`` and its parts have what ``solver`` and the solvers inside it need.

    With a table of ``known`` solvers the message calls the solver by its name and says which ones do fit.
    """
    if isinstance(solver, type):
        raise PairingError(f"{solver.__name__} is a class; an instance is needed: {solver.__name__}()")
    if not fits(solver, system):
        raise PairingError(_refusal(system, solver, known))
    for part, inner in solver.parts(system):
        require_fit(part, inner, known)


def describe(system: Any) -> str:
    """The protocols that a system satisfies, as words with their articles."""
    found = [[protocol for protocol in group if isinstance(system, protocol)] for group in _PROTOCOLS]
    return " and ".join(with_article(group[0]) for group in found if group) or with_article(TriangularSystem)


def name_in(known: Mapping[str, type[Solver]], kind: type[Solver]) -> str:
    """The name by which ``known`` has a class of solvers; of one that is not there, the class's own name."""
    return next((name for name, other in known.items() if other is kind), kind.__name__)


def with_article(protocol: type | str) -> str:
    """A protocol's name with its article, as a sentence needs it."""
    name = protocol if isinstance(protocol, str) else protocol.__name__
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


def _refusal(system: Any, solver: Solver, known: Mapping[str, type[Solver]] | None) -> str:
    """The sentence that says why a solver does not fit, and where solvers are known which ones do."""
    name = type(system).__name__
    if not isinstance(system, TriangularSystem):
        return f"{name} is not a TriangularSystem: it needs num_equations, initial_guess() and sweep(x)"
    sentence = (
        f"{name_in(known or {}, type(solver))} needs {with_article(solver.requires)}; {name} is {describe(system)}"
    )
    usable = [other for other, kind in (known or {}).items() if fits(kind, system)]
    return f"{sentence}; use {', '.join(usable)}" if usable else sentence
