"""The contract of a solver, with the defaults that most solvers share, and the report of its step."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .equations import tolerated


class StepInfo(NamedTuple):
    """The report of one step to the loop that repeats it."""

    # The forward difference as the solver evaluates it; inf while equations await evaluation.
    residual: Float[Array, " B"]
    frontier: Int[Array, " B"]  # length of the prefix of the new x known to be exact
    num_steps: int | Int[Array, ""]  # sequential network evaluations in this step
    sweeps: float | Float[Array, ""]  # work of this step, in units of one full sweep
    # The residuals of the equations that were evaluated, each in units of max(1, |x|) up to it (``compare`` has them),
    # or their maxima, (1, B); None: the largest value of all is the unit.
    relative: Float[Array, "S B"] | None = None

    def meets(self, tol: float, x: Any) -> Bool[Array, " B"]:
        """Which samples of ``x``, the state before the step, are within a tolerance; with 0, which are equal."""
        if tol == 0:
            return self.residual <= 0
        if self.relative is None:
            return self.residual <= tolerated(tol, x)
        # What was evaluated may be within it while other equations await evaluation.
        return jnp.isfinite(self.residual) & jnp.all(self.relative <= tol, axis=0)


@dataclass(frozen=True)
class Solver(ABC):
    """An algorithm as a frozen dataclass of its options, each with a default: hashable, and static under jit.

    A solver holds no loop around a stopping test: iterate.py repeats ``step`` and decides when to stop. Everything but
    ``step`` and ``requires`` has a default, which is right for iterations that remember nothing but x and make one
    more equation exact with every step.
    """

    requires: ClassVar[type]  # the protocol that it needs of a system

    @property
    @abstractmethod
    def tol(self) -> float:
        """Converged means residual <= tol * max(1, |x|); 0 means equal bit for bit."""

    @abstractmethod
    def step(self, system: Any, x: Any, state: Any, frontier: Int[Array, " B"]) -> tuple[Any, Any, StepInfo]:
        """One iteration: the new x, the new state and the report.

        ``frontier`` is the loop's: the length of the prefix of x, for each sample, that is known to be exact; -1 for a
        sample whose exact solution has turned out not to be finite.
        """

    def __post_init__(self) -> None:
        """Refuse a tolerance that no residual can meet; solvers with options of their own extend this."""
        if not self.tol >= 0.0:
            raise ValueError(f"tol must be at least 0, not {self.tol}")

    def max_steps(self, system: Any) -> int:
        """The number of steps after which the solver has terminated on any triangular system.

        By default T, which make every equation exact, and one that confirms it. Raises ValueError where the system does
        not allow the solver's options.
        """
        return int(system.num_equations) + 1

    def init(self, system: Any, x: Any) -> Any:
        """The state before the first step, from the first guess; by default there is none.

        Raises ValueError where the system is too large for the solver.
        """
        return None

    def floats_per_equation(self, features: int) -> int | None:
        """Working memory of a step, in numbers for each equation and sample; None, the default, where it is small.

        ``features`` is the number of floating-point values in the state of one equation.
        """
        return None

    def resolved(self, system: Any) -> Solver:
        """The solver with every option filled in whose default depends on the system; solving gives the same."""
        return self

    def for_segment(self, system: Any) -> Solver:
        """The solver with the defaults that suit a segment of a longer system; by default as it is."""
        return self

    def parts(self, system: Any) -> Iterable[tuple[Any, Solver]]:
        """Each part of the system that another solver solves, with that solver, for the check of their pairing.

        Arrays in the parts may be abstract, that is have shapes and no values.
        """
        return ()

    def with_tol(self, tol: float | None) -> Solver:
        """The solver with another tolerance, or as it is where ``tol`` is None."""
        return self if tol is None else dataclasses.replace(self, tol=tol)  # type: ignore[call-arg]  # a field of each
