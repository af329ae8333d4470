"""The search for the best of some candidates: which of them are flown, in what order, and what is known of each."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..methods.gs_jacobi import GSJacobi
from ..methods.sequential import Sequential
from ..solver import Solver
from .candidates import is_forward, kind
from .facts import Facts, Sweeps
from .model import modelled, steps_of_a_round
from .pilot import Pilot
from .prediction import EXTRAPOLATED, FAILED, MEASURED, SCOUTED, SWEPT, Prediction, measured, scouted

_LOOKING = 0.05  # share of the budget in which sweeps are looked at, before forward substitution and after it
_SCOUTING = 0.6  # share of the budget in which kinds of solvers are scouted
_PILOTS = 0.95  # share of the budget in which pilots are to be over; the rest is for timing the best again
_LEAST_S = 0.2  # how long a pilot may fly at the least, and a scout at the most
_SHARE = 6  # and that part of what is left of the budget at the most
_STEP = 0.1  # and the share of the budget that a single step may take
_BEYOND = 1.5  # and how long, in units of the best time so far
_NEAR = 2.5  # those that are expected to take this many times the best's time may yet be the best
_CLOSE = 1.3  # candidates within this factor of the best are timed against each other
_FINAL_ROUNDS = 3


class Turn(NamedTuple):
    """The candidate to try now."""

    label: str
    quick: bool  # scouted: only its steps are wanted


class Search:
    """The candidates, what is expected of each by now, and the pilots that were flown."""

    def __init__(self, system: Any, found: Mapping[str, Solver], objective: str, budget_s: float, begin: float) -> None:
        """Sweep, and expect what the model says. ``begin`` is when choosing began, by ``time.perf_counter``."""
        self.begin, self.budget_s = begin, budget_s
        self.system, self.found, self.objective = system, found, objective
        self.sweeps = Sweeps(system, budget_s * _LOOKING)
        self.pilots: dict[str, Pilot] = {}  # those that are near the best
        self.compile_s: dict[bool, float] = {}  # the longest until a pilot was compiled, or failed to be; by ``quick``
        self.flown: set[str] = set()
        self.scouts: dict[str, Prediction] = {}  # what scouts took
        lengths = [each.block_length(system) for each in found.values() if isinstance(each, GSJacobi)]
        self.longest = max(lengths, default=0)  # blocks of GS-Jacobi
        self.rounds = {label: steps_of_a_round(solver, system) for label, solver in found.items()}
        self.lost: set[str] = set()  # those whose pilot or scout could not be compiled or run
        self.expected: dict[str, Prediction] = {}
        self._model()

    @property
    def facts(self) -> Facts:
        """What sweeps have told of the system so far."""
        return self.sweeps.facts

    @property
    def spent_s(self) -> float:
        """Seconds since the search began."""
        return time.perf_counter() - self.begin

    @property
    def best(self) -> Prediction:
        """The best of those that are known by more than the model, if there are any, or one that is surely better."""
        enough = {MEASURED, SWEPT, EXTRAPOLATED} | ({SCOUTED} if self.objective == "steps" else set())
        known = [each for each in self.expected.values() if each.basis in enough]
        best = min(known or self.expected.values(), key=self._rank)
        if self.objective != "time":
            return best
        # A scout's steps are known and their time is modelled: it wins where it would even at the slowest.
        surely = [each for each in self._scouted() if each.time_range[1] < best.time_range[0]]
        return min([best, *surely], key=self._rank)

    def _scouted(self) -> list[Prediction]:
        return [each for each in self.expected.values() if each.basis == SCOUTED]

    def fly(self, tell: Callable[[str], None]) -> None:
        """Fly pilots until the budget is spent."""
        while (turn := self._next()) is not None:
            tell(turn.label)
            self._try(turn)

    def compare_the_best(self) -> None:
        """Time those close to the best in turn: what disturbed one pilot would decide otherwise."""
        if self.objective != "time":
            return
        limit = _CLOSE * self.best.time_s
        expected = {label: self.expected[label] for label in self.pilots}
        close = [label for label, each in expected.items() if each.basis == MEASURED and each.time_s <= limit]
        for _ in range(_FINAL_ROUNDS):
            for label in close:
                if self.spent_s + self.expected[label].time_s < self.budget_s:
                    self._retime(label)

    def outcome(self) -> tuple[str, tuple[Prediction, ...]]:
        """The label of the best, and all predictions in order. Raises RuntimeError where none could be run."""
        if self.best.basis == FAILED:
            raise RuntimeError(f"no solver could be run on {type(self.system).__name__}")
        return self.best.label, tuple(sorted(self.expected.values(), key=self._rank))

    def _rank(self, prediction: Prediction) -> tuple[float, float]:
        return prediction.cost(self.objective), prediction.cost("time")

    def _model(self) -> None:
        """Expect of what has not been flown what the model says, as far as it was right about solvers of the kind."""
        said = {label: modelled(label, solver, self.system, self.facts) for label, solver in self.found.items()}
        for label, found in self.scouts.items():
            if label not in self.flown and not self._failed(label):
                self.expected[label] = scouted(said[label], found)
        for label in self.found:
            if label not in {*self.flown, *self.scouts} and not self._failed(label):
                kin = self._kin(label, self.flown) or self._kin(label, self.scouts)
                self.expected[label] = said[label].corrected([(said[other], self.expected[other]) for other in kin])

    def _failed(self, label: str) -> bool:
        return label in self.expected and self.expected[label].basis == FAILED

    def _kin(self, label: str, others: Iterable[str]) -> list[str]:
        return [other for other in others if kind(self.found[other]) == kind(self.found[label])]

    def _next(self) -> Turn | None:
        """Forward substitution first, as it tells what a small step costs; then scouts, then what may be the best."""
        done = (MEASURED, EXTRAPOLATED, FAILED)
        waiting = [label for label in self.found if self.expected[label].basis not in done]
        by_memory = self.objective == "memory"  # which compiling tells, and not compiling in a hurry
        if not by_memory:  # the sweep tells all of naive forward substitution
            waiting = [label for label in waiting if not isinstance(self.found[label], Sequential)]
        wanted = "steps" if self.objective == "steps" else "time"
        waiting.sort(key=lambda label: self.expected[label].cost(wanted))
        if not self.compile_s:
            first = [label for label in waiting if is_forward(self.found[label])]
            return next((Turn(label, quick=False) for label in first or waiting), None)
        waiting = [label for label in waiting if self._step_s(label) <= _STEP * self.budget_s]  # a pilot takes one step
        scouts = [] if by_memory else [label for label in waiting if label not in {*self.scouts, *self.lost}]
        tried = {self._sort(label) for label in (*self.flown, *self.scouts, *self.lost)}
        kinds = [label for label in scouts if self._sort(label) not in tried]
        if kinds and self._time_for(quick=True, share=_SCOUTING):
            return Turn(kinds[0], quick=True)
        limit = math.inf if by_memory else _NEAR * self.best.cost(wanted)
        near = [label for label in waiting if self.expected[label].cost(wanted) <= limit]
        if near and self._time_for(quick=False, share=_PILOTS):
            return Turn(near[0], quick=False)
        if scouts and self._time_for(quick=True, share=_PILOTS):
            return Turn((kinds or scouts)[0], quick=True)
        return None

    def _sort(self, label: str) -> tuple[Any, ...]:
        """What is scouted once: a kind of solver, and of GS-Jacobi the longest blocks, which tell how steps grow."""
        solver = self.found[label]
        return kind(solver), isinstance(solver, GSJacobi) and solver.block_length(self.system) == self.longest

    def _step_s(self, label: str) -> float:
        """What one iteration is expected to take, which may be several steps: no pilot takes less."""
        expected = self.expected[label]
        return expected.time_s / max(1.0, expected.num_steps / max(1, self.rounds[label]))

    def _time_for(self, quick: bool, share: float) -> bool:
        """Whether a further pilot is likely to be over within that share of the budget."""
        compile_s = self.compile_s.get(quick, max(self.compile_s.values()))
        return self.spent_s + compile_s + self._limit(quick) <= share * self.budget_s

    def _limit(self, quick: bool) -> float:
        """How long a pilot may fly."""
        left = self.budget_s - self.spent_s
        flown = [each.time_s for each in self.expected.values() if each.basis == MEASURED]
        return _LEAST_S if quick else max(_LEAST_S, min(left / _SHARE, _BEYOND * min(flown, default=left)))

    def _try(self, turn: Turn) -> None:
        """One pilot; a program that cannot be compiled or run is no candidate."""
        label, quick = turn
        solver, begin = self.found[label], time.perf_counter()
        try:
            pilot = Pilot(self.system, solver, quick)
            self._compiled(quick, pilot.compile_s)
            flight = pilot.fly(self._limit(quick))
        except (MemoryError, RuntimeError):
            self._compiled(quick, time.perf_counter() - begin)
            self.lost.add(label)
            if not quick:  # of a scout it may be the hurry
                self.expected[label] = dataclasses.replace(self.expected[label], basis=FAILED)
            return
        bound = solver.max_steps(self.system)
        found = measured(label, flight, self.facts.num_equations, solver.tol, bound, pilot.memory_bytes)
        if quick:
            self.scouts[label] = found
        else:
            self.flown.add(label)
            self.pilots[label], self.expected[label] = pilot, found
        if is_forward(solver) and flight.converged and not quick:
            known = math.inf if self.facts.cached_s is None else self.facts.cached_s
            self.sweeps.facts = dataclasses.replace(self.facts, cached_s=min(known, found.time_s))
            if self.facts.cold is None:
                self.sweeps.look(flight.x, self.budget_s * _LOOKING)
        if isinstance(solver, GSJacobi) and found.basis != FAILED:
            self._learn_blocks(solver, found.num_steps)
        self._model()
        near = _CLOSE * self.best.time_s
        self.pilots = {label: self.pilots[label] for label in self.pilots if self.expected[label].time_s <= near}

    def _compiled(self, quick: bool, seconds: float) -> None:
        self.compile_s[quick] = max(seconds, self.compile_s.get(quick, 0.0))

    def _learn_blocks(self, solver: GSJacobi, num_steps: int) -> None:
        """How many sweeps a block took, in the mean, beside the one that sees that it is solved."""
        length = solver.block_length(self.system)
        sweeps = num_steps / max(1, -(-self.facts.num_equations // length)) - 1.0
        known = dict(self.facts.blocks) | {length: max(1.0, sweeps)}
        self.sweeps.facts = dataclasses.replace(self.facts, blocks=tuple(known.items()))

    def _retime(self, label: str) -> None:
        """A further time of one that came to its end; the least counts, as disturbances only ever add."""
        old, seconds = self.expected[label], self.pilots[label].time()
        if seconds < old.time_s:
            low, high = (bound * seconds / old.time_s for bound in old.time_range)
            self.expected[label] = dataclasses.replace(old, time_s=seconds, time_range=(low, high))
