"""Choose a solver for a system on this device, by short pilots of those that fit."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..methods.gs_jacobi import GSJacobi
from ..methods.sequential import Sequential
from ..pairing import PairingError
from ..solver import Solver
from .candidates import MEMORY_BYTES, candidates, is_forward, kind
from .facts import Facts, Sweeps
from .model import modelled
from .pilot import Pilot
from .prediction import EXTRAPOLATED, FAILED, MEASURED, OBJECTIVES, SWEPT, Prediction, as_record, from_record, measured

BUDGET_S = 20.0
_LOOKING = 0.05  # share of the budget in which sweeps are looked at, before forward substitution and after it
_PILOTS = 0.9  # share of the budget in which pilots are to be over; the rest is for timing the best again
_LEAST_S = 0.2  # how long a pilot may fly at the least
_BEYOND = 1.5  # and how long, in units of the best time so far
_CLOSE = 1.3  # candidates within this factor of the best are timed against each other
_FINAL_ROUNDS = 3


@dataclass(frozen=True)
class Choice:
    """A solver that was chosen, and what every candidate was expected to take."""

    label: str
    solver: Solver
    objective: str
    predictions: tuple[Prediction, ...]  # the least cost first; what was chosen is the first that is not modelled
    pilot_s: float  # seconds that choosing took, compiling included; 0 where it was kept from an earlier run
    candidates: Mapping[str, Solver] = field(repr=False)  # by label

    @property
    def prediction(self) -> Prediction:
        """What the chosen solver is expected to take."""
        return next(each for each in self.predictions if each.label == self.label)

    @property
    def record(self) -> dict[str, Any]:
        """The choice as plain values, from which ``kept_choice`` makes it again."""
        predictions = [as_record(each) for each in self.predictions]
        return {
            "solver": self.label,
            "objective": self.objective,
            "pilot_s": self.pilot_s,
            "predictions": predictions,
        }

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("solver", "steps", "seconds", "from", "to", "known by")]
        for each in self.predictions:
            low, high = each.time_range
            rows.append((each.label, str(each.num_steps), *(f"{s:.3g}" for s in (each.time_s, low, high)), each.basis))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"{self.label} ({self.objective}; chosen in {self.pilot_s:.1f} s)", *lines])


def choose(
    system: Any,
    *,
    objective: str = "time",
    tol: float | None = None,
    without: Collection[str] = (),
    also: Iterable[Solver] = (),
    allowed: Callable[[Solver], bool] = lambda solver: True,
    budget_s: float = BUDGET_S,
    memory_bytes: int = MEMORY_BYTES,
    tell: Callable[[str], None] = lambda label: None,
) -> Choice:
    """Choose the solver that is expected to solve ``system`` in the least time, steps or memory on this device.

        solution = solve(system, choose(system).solver)

    Every solver that goes with the system is a candidate, with block lengths and inner solvers that suit it. A few
    sweeps of Jacobi's iteration tell what a sweep costs and how fast exact values spread; from that a model says which
    candidates are promising. Those that may be the best are compiled and flown in this order, then one of each kind:
    it solves the system itself for about as long as the best so far takes. One that comes to the end is measured; of
    others steps and time are extrapolated from how the exact prefix grew and the residual fell. Those that the budget
    does not reach stay modelled. In the end those that are close to the best are timed against each other. Nothing of
    it changes an answer.

    Args:
        system: what to solve; its values count, as steps depend on them.
        objective: ``time``, ``steps`` (sequential network evaluations: what an accelerator waits for) or ``memory``.
        tol: a tolerance in the place of each solver's own.
        without: names of solvers that are not to be chosen.
        also: further candidates with options of their own, unless they are content with less than by default.
        allowed: whether a solver may be a candidate.
        budget_s: seconds in which no further pilot is begun, compiling included; one pilot may go beyond.
        memory_bytes: what a candidate may hold at once, by its own word.
        tell: called with the label of each candidate before its pilot.

    Raises:
        ValueError: an unknown objective or solver, or a budget that is not positive.
        PairingError: no solver is left that goes with the system.
        RuntimeError: none of them could be compiled and run to a solution.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, not {objective!r}")
    if not budget_s > 0.0:
        raise ValueError(f"budget_s must be positive, not {budget_s}")
    found = candidates(system, tol=tol, without=without, also=also, allowed=allowed, memory_bytes=memory_bytes)
    if not found:
        raise PairingError(f"no solver is left for {type(system).__name__} without {', '.join(sorted(without))}")
    search = _Search(system, found, objective, budget_s)
    search.fly(tell)
    search.compare_the_best()
    return search.choice()


def kept_choice(
    record: Mapping[str, Any], system: Any, *, tol: float | None = None, also: Iterable[Solver] = ()
) -> Choice:
    """The choice whose ``record`` was kept, for a system of the same kind and shapes.

    Device and versions should be those of then, too: whoever keeps records sees to it. Raises KeyError, TypeError or
    ValueError where it is not such a record, or the solver is no candidate any more.
    """
    found = candidates(system, tol=tol, also=also)
    label = record["solver"]
    predictions = tuple(from_record(each) for each in record["predictions"])
    known = {each.label: found[each.label] for each in predictions}
    return Choice(label, known[label], record["objective"], predictions, 0.0, known)


class _Search:
    """The candidates, what is expected of each by now, and the pilots that were flown."""

    def __init__(self, system: Any, found: Mapping[str, Solver], objective: str, budget_s: float) -> None:
        self.begin, self.budget_s = time.perf_counter(), budget_s
        self.system, self.found, self.objective = system, found, objective
        self.sweeps = Sweeps(system, budget_s * _LOOKING)
        self.pilots: dict[str, Pilot] = {}  # those that are near the best
        self.tried_s: list[float] = []  # until each pilot was compiled, or failed to be
        self.flown: set[str] = set()
        self.expected: dict[str, Prediction] = {}
        self._model()

    @property
    def facts(self) -> Facts:
        """What sweeps have told of the system so far."""
        return self.sweeps.facts

    @property
    def spent_s(self) -> float:
        return time.perf_counter() - self.begin

    @property
    def best(self) -> Prediction:
        """The best of those that are known by more than the model, if there are any."""
        known = [each for each in self.expected.values() if each.basis in (MEASURED, SWEPT, EXTRAPOLATED)]
        return min(known or self.expected.values(), key=self._rank)

    def fly(self, tell: Callable[[str], None]) -> None:
        """Fly pilots, the most promising first, until the budget is spent."""
        while (label := self._next()) is not None:
            tell(label)
            self._try(label)

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

    def choice(self) -> Choice:
        """The best, and all predictions in order."""
        ranked = sorted(self.expected.values(), key=self._rank)
        best = self.best.label
        if self.best.basis == FAILED:
            raise RuntimeError(f"no solver could be run on {type(self.system).__name__}")
        return Choice(best, self.found[best], self.objective, tuple(ranked), self.spent_s, self.found)

    def _rank(self, prediction: Prediction) -> tuple[float, float]:
        return prediction.cost(self.objective), prediction.cost("time")

    def _model(self) -> None:
        """Expect of what has not been flown what the model says, as far as it was right about solvers of the kind."""
        said = {label: modelled(label, solver, self.system, self.facts) for label, solver in self.found.items()}
        for label, solver in self.found.items():
            if label in self.flown or self.expected.get(label, said[label]).basis == FAILED:
                continue
            kin = [other for other in self.flown if kind(self.found[other]) == kind(solver)]
            self.expected[label] = said[label].corrected([(said[other], self.expected[other]) for other in kin])

    def _next(self) -> str | None:
        """The candidate to try now: forward substitution first, as it tells what a small step costs."""
        waiting = [label for label in self.found if self.expected[label].basis not in (MEASURED, EXTRAPOLATED, FAILED)]
        waiting = [label for label in waiting if not isinstance(self.found[label], Sequential)]  # known by the sweep
        if not self.tried_s:
            first = [label for label in waiting if is_forward(self.found[label])]
            waiting = first or waiting
        elif self.spent_s + max(self.tried_s) > _PILOTS * self.budget_s:
            return None
        wanted = "steps" if self.objective == "steps" else "time"  # memory is not known before compiling
        near, tried = _BEYOND * self.best.cost(wanted), {kind(self.found[label]) for label in self.flown}

        def turn(label: str) -> tuple[int, float]:
            """What may be the best, then one of each kind, by which the others of it are modelled better."""
            cost = self.expected[label].cost(wanted)
            return (0 if cost <= near else 1 if kind(self.found[label]) not in tried else 2), cost

        return min(waiting, key=turn, default=None)

    def _try(self, label: str) -> None:
        """One pilot; a program that cannot be compiled or run is no candidate."""
        solver, left = self.found[label], self.budget_s - self.spent_s
        flown = [each.time_s for each in self.expected.values() if each.basis == MEASURED]
        limit = min(max(_LEAST_S, _BEYOND * min(flown, default=left)), max(_LEAST_S, left / 4))
        begin = time.perf_counter()
        try:
            pilot = Pilot(self.system, solver)
            self.tried_s.append(pilot.compile_s)
            flight = pilot.fly(limit)
        except (MemoryError, RuntimeError):
            self.tried_s.append(time.perf_counter() - begin)
            self.expected[label] = dataclasses.replace(self.expected[label], basis=FAILED)
            return
        bound = solver.max_steps(self.system)
        self.flown.add(label)
        self.pilots[label] = pilot
        self.expected[label] = measured(label, flight, self.facts.num_equations, solver.tol, bound, pilot.memory_bytes)
        if is_forward(solver) and flight.converged:
            self.sweeps.facts = dataclasses.replace(self.facts, cached_s=self.expected[label].time_s)
            self.sweeps.look(flight.x, self.budget_s * _LOOKING)
        if isinstance(solver, GSJacobi):
            self._learn_blocks(solver, self.expected[label].num_steps)
        self._model()
        near = _CLOSE * self.best.time_s
        self.pilots = {label: self.pilots[label] for label in self.pilots if self.expected[label].time_s <= near}

    def _learn_blocks(self, solver: GSJacobi, num_steps: int) -> None:
        """How many sweeps a block took, in the mean, beside the one that sees that it is solved."""
        length = solver.block_length(self.system)
        sweeps = num_steps / -(-self.facts.num_equations // length) - 1.0
        known = dict(self.facts.blocks) | {length: max(1.0, sweeps)}
        self.sweeps.facts = dataclasses.replace(self.facts, blocks=tuple(known.items()))

    def _retime(self, label: str) -> None:
        """A further time of one that came to its end; the least counts, as disturbances only ever add."""
        old, seconds = self.expected[label], self.pilots[label].time()
        if seconds < old.time_s:
            low, high = (bound * seconds / old.time_s for bound in old.time_range)
            self.expected[label] = dataclasses.replace(old, time_s=seconds, time_range=(low, high))
