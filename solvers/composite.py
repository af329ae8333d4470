"""Solvers that hand the parts of a system to another solver, which is one of their options."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from .solver import Solver


@dataclass(frozen=True)
class CompositeSolver(Solver):
    """A solver of parts, each solved by ``solver``, an instance with options of its own.

    The parts are held to the tolerance of the whole: ``tol`` stands in the place of the inner solver's.
    """

    admitted: ClassVar[str]  # which solvers may stand inside, for people
    solver: Solver

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.solver, Solver):
            raise ValueError(f"solver must be an instance of a solver, for example Jacobi(), not {self.solver!r}")
        if not self.admits(self.solver):
            inner, outer = type(self.solver).__name__, type(self).__name__
            raise ValueError(f"solver: {inner} cannot stand inside {outer}, which takes {self.admitted}")

    @classmethod
    @abstractmethod
    def admits(cls, solver: Solver) -> bool:
        """Whether a solver may stand inside."""

    @property
    def inner(self) -> Solver:
        """The solver of the parts, held to the tolerance of the whole."""
        return self.solver.with_tol(self.tol)
