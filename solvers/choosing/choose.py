"""Choose a solver for a system on this device, by short pilots of those that fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..pairing import PairingError
from ..solver import Solver
from .candidates import MEMORY_BYTES, candidates, labels_of
from .prediction import OBJECTIVES, Prediction, as_record, from_record
from .search import Search

BUDGET_S = 20.0


@dataclass(frozen=True)
class Choice:
    """A solver that was chosen, and what every candidate was expected to take."""

    label: str
    solver: Solver
    objective: str
    predictions: tuple[Prediction, ...]  # the least cost first; chosen is the first that was run, if any was
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
    candidates are promising. Forward substitution is flown first: compiled, it solves the system itself. Then one
    solver of each kind is scouted, two at a time and those in ``also`` first: compiled in a hurry, it runs for a
    moment, which tells its steps but little of its time. Those that may be the best by then are flown for about as long
    as the best so far takes. One that comes to the end is measured; of others steps and time are extrapolated from how
    the exact prefix grew and the residual fell. What cannot be compiled within the budget, which the number of its
    operations tells, stays modelled, and one that was only scouted is chosen where even the slowest time that is
    expected of its steps is less than that of all that were flown. In the end those that are close to the best are
    timed against each other, and their medians decide. Nothing of it changes an answer.

    Args:
        system: what to solve; its values count, as steps depend on them.
        objective: ``time``, ``steps`` (sequential network evaluations: what an accelerator waits for) or ``memory``.
        tol: a tolerance in the place of each solver's own.
        without: names of solvers that are not to be chosen.
        also: further candidates with options of their own, unless they are content with less than by default.
        allowed: whether a solver may be a candidate.
        budget_s: seconds for trying solvers, tracing and compiling included; of a pilot that has begun by then
            the step under way is finished.
        memory_bytes: what a candidate may hold at once, by its own word.
        tell: called with the label of each candidate that is about to be tried, but for one that is compiled beside the
            sweep; of some there turns out to be no time.

    Raises:
        ValueError: an unknown objective or solver, or a budget that is not positive.
        PairingError: no solver is left that goes with the system.
        RuntimeError: all of them failed, when they were compiled or run.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, not {objective!r}")
    if not budget_s > 0.0:
        raise ValueError(f"budget_s must be positive, not {budget_s}")
    begin = time.perf_counter()
    also = tuple(also)
    found = candidates(system, tol=tol, without=without, also=also, allowed=allowed, memory_bytes=memory_bytes)
    if not found:
        raise PairingError(f"no solver is left for {type(system).__name__} without {', '.join(sorted(without))}")
    search = Search(system, found, objective, budget_s, begin, labels_of(system, (each.with_tol(tol) for each in also)))
    search.fly(tell)
    search.compare_the_best()
    best, predictions = search.outcome()
    return Choice(best, found[best], objective, predictions, search.spent_s, found)


def kept_choice(
    record: Mapping[str, Any],
    system: Any,
    *,
    tol: float | None = None,
    also: Iterable[Solver] = (),
    memory_bytes: int = MEMORY_BYTES,
) -> Choice:
    """The choice whose ``record`` was kept, for a system of the same kind and shapes.

    Device and versions should be those of then, too: whoever keeps records sees to it. Raises KeyError, TypeError or
    ValueError where it is not such a record, or the solver is no candidate any more.
    """
    also = tuple(also)
    found = candidates(system, tol=tol, also=also, memory_bytes=memory_bytes)
    label = record["solver"]
    predictions = tuple(from_record(each) for each in record["predictions"])
    known = {each.label: found[each.label] for each in predictions}
    return Choice(label, known[label], record["objective"], predictions, 0.0, known)
