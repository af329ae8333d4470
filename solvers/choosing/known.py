"""What is known of some candidates on one system: what the model says, and what pilots and scouts have found."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..composite import CompositeSolver
from ..methods.gs_jacobi import GSJacobi
from ..methods.sliding_gs_jacobi import SlidingGSJacobi
from ..solver import Solver
from .candidates import is_forward, kind
from .facts import Facts, Sweeps
from .model import modelled, products_s, steps_of_a_round
from .pilot import Flight
from .prediction import (
    EXTRAPOLATED,
    FAILED,
    HURRIED,
    MEASURED,
    MODELLED,
    SCOUTED,
    SWEPT,
    Prediction,
    measured,
    scouted,
)
from .program import SLOWER

_FEW = 6  # iterations from which on it can be told how the others will go
_DENSE = 40.0  # times that products of dense matrices take longer in a hurry
_CLEARLY = 1.5  # a time that is modelled is taken for shorter than one that was measured from this factor on


class Known:
    """What every candidate is expected to take by now."""

    def __init__(self, system: Any, found: Mapping[str, Solver], objective: str, sweeps: Sweeps, look_s: float) -> None:
        """Expect what the model says after ``sweeps``. ``look_s`` is how long to look once the solution is known."""
        self.system, self.found, self.objective = system, found, objective
        self.flown: set[str] = set()
        self.scouts: dict[str, Prediction] = {}  # what scouts took
        self.expected: dict[str, Prediction] = {}
        self._sweeps, self._look_s = sweeps, look_s
        self._exact: Any = None  # the solution, once it is known
        self._rounds = {label: steps_of_a_round(solver, system) for label, solver in found.items()}
        self._model()

    @property
    def facts(self) -> Facts:
        """What sweeps have told of the system so far."""
        return self._sweeps.facts

    @property
    def nothing(self) -> bool:
        """Whether no solver was run yet."""
        return not self.flown and not self.scouts

    @property
    def best(self) -> Prediction:
        """The best of those that are known by more than the model, if there are any, or one that is surely better."""
        enough = {MEASURED, SWEPT, EXTRAPOLATED} | ({SCOUTED, HURRIED} if self.objective == "steps" else set())
        known = self._by(*enough) or self._by(HURRIED, SCOUTED) or list(self.expected.values())
        best = min(known, key=self.rank)
        if self.objective != "time":
            return best
        # The times of scouts are modelled: one wins where it would even at the slowest, or clearly where it was solved.
        surely = [each for each in self._by(SCOUTED, HURRIED) if each.time_range[1] < best.time_range[0]]
        surely += [each for each in self._by(HURRIED) if _CLEARLY * each.time_s < best.time_s]
        return min([best, *surely], key=self.rank)

    def rank(self, prediction: Prediction) -> tuple[float, float]:
        """What the best has the least of."""
        return prediction.cost(self.objective), prediction.cost("time")

    def step_s(self, label: str) -> float:
        """What one iteration is expected to take, which may be several steps: no pilot takes less."""
        expected = self.expected[label]
        return expected.time_s / max(1.0, expected.num_steps / max(1, self._rounds[label]))

    def hurried_step_s(self, label: str, slowness: float) -> float:
        """The same in a hurry, so many times longer, and where dense matrices are multiplied yet longer."""
        return slowness * self.step_s(label) + _DENSE * products_s(self.found[label], self.facts)

    @property
    def promising(self) -> list[str]:
        """Those that a hurried program has solved, and that may be faster than what was flown."""
        flown = min((self.expected[label].time_s for label in self.flown), default=math.inf)
        solved = sorted(self._by(HURRIED), key=self.rank)
        return [each.label for each in solved if each.time_s < flown]

    def is_forward(self, label: str) -> bool:
        """Whether a candidate is forward substitution with caches."""
        return is_forward(self.found[label])

    def fail(self, label: str) -> None:
        """A candidate that could not be run is none."""
        self.expected[label] = dataclasses.replace(self.expected[label], basis=FAILED)

    def add(self, label: str, flight: Flight, memory_bytes: int | None, quick: bool) -> None:
        """What a pilot saw, or a scout if it was ``quick``."""
        solver = self.found[label]
        bound = solver.max_steps(self.system)
        found = measured(label, flight, self.facts.num_equations, solver.tol, bound, memory_bytes)
        few = flight.points[-1].num_iterations < _FEW
        guessed = found.basis == EXTRAPOLATED and few and not self.is_forward(label)
        if guessed:
            found = found.with_steps_of(modelled(label, solver, self.system, self.facts), flight.points[-1].num_steps)
        if quick:
            self.scouts[label] = found
        else:
            self.flown.add(label)
            self.expected[label] = found
            if found.basis == MEASURED and isinstance(solver, GSJacobi | SlidingGSJacobi):
                self._learn_steps(found, flight.points[-1].sweeps)
        if self.is_forward(label) and flight.converged:
            self._learn_forward(flight.x)
        if isinstance(solver, GSJacobi) and not guessed and found.basis != FAILED:
            self._learn_blocks(solver, found.num_steps)
        self._model()

    def retime(self, label: str, seconds: float) -> None:
        """A better time of one that came to its end, in the place of that of its pilot."""
        old = self.expected[label]
        low, high = (bound * seconds / old.time_s for bound in old.time_range)
        self.expected[label] = dataclasses.replace(old, time_s=seconds, time_range=(low, high))

    def look(self, limit_s: float) -> bool:
        """See how values spread where the solution is known, for about so long; whether that told anything."""
        told = bool(self._by(MODELLED)) and self._exact is not None and self._sweeps.look(self._exact, limit_s)
        if told:
            self._model()
        return told

    def _by(self, *bases: str) -> list[Prediction]:
        return [each for each in self.expected.values() if each.basis in bases]

    def _model(self) -> None:
        """Expect of what has not been flown what the model says, as far as it was right about solvers of the kind."""
        said = {label: modelled(label, solver, self.system, self.facts) for label, solver in self.found.items()}
        for label, found in self.scouts.items():
            if label not in self.flown and not self._failed(label):
                certain = found.basis == MEASURED or self.is_forward(label)
                self.expected[label] = scouted(said[label], found, certain)
        for label, solver in self.found.items():
            if label not in {*self.flown, *self.scouts} and not self._failed(label):
                kin = self._kin(solver)
                if not kin and isinstance(solver, CompositeSolver):
                    kin = self._kin(solver.inner)
                self.expected[label] = said[label].corrected([(said[other], self.expected[other]) for other in kin])

    def _failed(self, label: str) -> bool:
        return label in self.expected and self.expected[label].basis == FAILED

    def _kin(self, solver: Solver) -> list[str]:
        """Those of a solver's kind that were flown, or scouted where none was."""

        def alike(labels: Iterable[str]) -> list[str]:
            return [label for label in labels if kind(self.found[label]) == kind(solver)]

        return alike(self.flown) or alike(self.scouts)

    def _learn_forward(self, x: Any) -> None:
        """What forward substitution takes, and how values spread where its solution is known."""
        taken = [self.expected[label].time_s for label in self.flown if self.is_forward(label)]
        hurried = [each.time_s / SLOWER for label, each in self.scouts.items() if self.is_forward(label)]
        self._sweeps.facts = dataclasses.replace(self.facts, cached_s=min(taken or hurried))
        if self._exact is None:
            self._exact = x
            self._sweeps.look(x, self._look_s)

    def _learn_steps(self, found: Prediction, sweeps: float) -> None:
        """What a step takes beside sweeps, of which it made so many in all; of several solvers the least counts."""
        beside = max(0.0, found.time_s - sweeps * self.facts.sweep_s) / max(1, found.num_steps)
        known = math.inf if self.facts.beside_s is None else self.facts.beside_s
        self._sweeps.facts = dataclasses.replace(self.facts, beside_s=min(known, beside))

    def _learn_blocks(self, solver: GSJacobi, num_steps: int) -> None:
        """How many sweeps a block took, in the mean, beside the one that sees that it is solved."""
        length = solver.block_length(self.system)
        sweeps = num_steps / max(1, -(-self.facts.num_equations // length)) - 1.0
        known = dict(self.facts.blocks) | {length: max(1.0, sweeps)}
        self._sweeps.facts = dataclasses.replace(self.facts, blocks=tuple(known.items()))
