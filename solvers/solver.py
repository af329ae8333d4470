"""The protocol of a solver, and what its step reports."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int


class StepInfo(NamedTuple):
    """What one step tells the driver."""

    residual: Float[Array, " B"]  # max |F(x) - x| as the solver evaluates it; inf while equations await evaluation
    frontier: Int[Array, " B"]  # length of the prefix of the new x known to be exact
    num_steps: int | Int[Array, ""]  # sequential network evaluations in this step
    sweeps: float | Float[Array, ""]  # work of this step, in units of one full sweep
    scale: Float[Array, " B"] | None = None  # max |x| where the residual was taken; None: it was before the step


@runtime_checkable
class Solver(Hashable, Protocol):
    """A frozen dataclass, static under jit, built from a config's options.

    A solver holds no loop around a stopping test: ``solve`` repeats ``step`` and decides.
    """

    requires: ClassVar[type]  # the protocol that it needs of a system

    @property
    def tol(self) -> float:
        """Converged means residual <= tol * max(1, |x|); 0 means equal bit for bit."""

    def max_steps(self, system: Any) -> int:
        """The number of steps after which the solver has terminated on any triangular system."""

    def init(self, system: Any, x: Any) -> Any:
        """The state before the first step, from the first guess."""

    def step(self, system: Any, x: Any, state: Any, frontier: Int[Array, " B"]) -> tuple[Any, Any, StepInfo]:
        """One iteration: the new x, the new state and what happened.

        ``frontier`` is the driver's: the length of the prefix of x, for each sample, that is known to be exact; -1 for
        a sample whose exact solution has turned out not to be finite.
        """
