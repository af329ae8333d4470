"""``{name: auto}`` in a config's list of solvers: the best solver for the system and the device, not known yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NoReturn

from pydantic import Field

from common.names import unknown
from solvers import SOLVERS, Solver, TriangularSystem


@dataclass(frozen=True)
class Auto(Solver):
    """The solver that takes the least time, steps or memory here, found by trying those that go with the system.

    It stands where that solver will be, until ``solvers.choose`` has tried them. A run puts the chosen solver in its
    place before it measures anything (``runners.measure.choosing``).
    """

    requires: ClassVar[type] = TriangularSystem
    objective: Literal["time", "steps", "memory"] = "time"
    without: tuple[str, ...] = ()  # names of solvers that are not to be chosen
    budget_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20.0  # for trying solvers, compiling included
    tol: float = 0.0  # 0: each solver's own

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.without:
            if name not in SOLVERS:
                raise ValueError(unknown("solver", name, SOLVERS))

    def step(self, system: Any, x: Any, state: Any, frontier: Any) -> NoReturn:
        """Raise TypeError: it is no algorithm."""
        raise TypeError("auto is not a solver yet: take the one that solvers.choose(system) names")
