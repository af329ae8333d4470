"""How many steps and seconds a whole solve takes, told from the part of it that a pilot flew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .pilot import Flight, Point
from .program import SLOWER, SLOWER_AT_MOST

MEASURED, SWEPT, EXTRAPOLATED, MODELLED, FAILED = "measured", "swept", "extrapolated", "modelled", "failed"
SCOUTED, HURRIED = "scouted", "hurried"
OBJECTIVES = ("time", "steps", "memory")
ROUNDING = 1e-7  # relative differences of float32 numbers below this are lost, so that a solve for equal bits ends
_RETOLD = 1.1  # by how much a time differs from the same solve's next one, on a quiet machine


@dataclass(frozen=True)
class Prediction:
    """What a solver is expected to take on a system, with the range in which it is expected to lie."""

    label: str
    # measured: flown to its end; swept: nothing but sweeps, which were counted; extrapolated from a part of a flight;
    # hurried: solved to its end by a program that was compiled in a hurry, which takes longer; scouted: the same of a
    # part of the solve; modelled, as no pilot was flown; failed
    basis: str
    num_steps: int
    steps_range: tuple[int, int]
    time_s: float
    time_range: tuple[float, float]
    memory_bytes: int | None = None  # that its program holds at once; None where it was not run

    def corrected(self, others: Sequence[tuple[Prediction, Prediction]]) -> Prediction:
        """The prediction times the factors, in the mean, by which others of the kind differed from what was modelled.

        ``others`` are pairs of a modelled prediction and what was found. What is certain stays as it is.
        """
        known = [(told, found) for told, found in others if found.basis in (MEASURED, EXTRAPOLATED, SCOUTED, HURRIED)]
        if not known or self.basis != MODELLED:
            return self
        steps = math.exp(math.fsum(math.log(max(1, b.num_steps) / max(1, a.num_steps)) for a, b in known) / len(known))
        timed = [(a.time_s, b.time_s) for a, b in known if min(a.time_s, b.time_s) > 0.0]
        seconds = math.exp(math.fsum(math.log(b / a) for a, b in timed) / max(1, len(timed)))
        low, high = self.steps_range
        return replace(
            self,
            num_steps=max(1, round(self.num_steps * steps)),
            steps_range=(math.floor(low * steps), math.ceil(high * steps)),
            time_s=self.time_s * seconds,
            time_range=(self.time_range[0] * seconds, self.time_range[1] * seconds),
        )

    def with_steps_of(self, other: Prediction, at_least: int) -> Prediction:
        """The prediction with the steps of another, but more than ``at_least``; each takes as long as it did."""
        low, steps, high = (
            max(at_least + 1, each) for each in (other.steps_range[0], other.num_steps, other.steps_range[1])
        )
        each_s = self.time_s / max(1, self.num_steps)
        seconds = (low * each_s, high * each_s)
        return replace(self, num_steps=steps, steps_range=(low, high), time_s=steps * each_s, time_range=seconds)

    def cost(self, objective: str) -> float:
        """What is to be small: seconds, steps or bytes; infinite where it is not known or no solution was found."""
        if self.basis == FAILED:
            return math.inf
        if objective == "memory":
            return math.inf if self.memory_bytes is None else float(self.memory_bytes)
        return float(self.num_steps) if objective == "steps" else self.time_s


def measured(label: str, flight: Flight, num_equations: int, tol: float, bound: int, memory: int | None) -> Prediction:
    """The prediction from a pilot's flight: what it took where it came to the end, else extrapolated.

    ``bound`` is the solver's own on its iterations.
    """
    last = flight.points[-1]
    if flight.failed:
        steps, seconds = (last.num_steps,) * 2, (last.seconds,) * 2
        return Prediction(label, FAILED, last.num_steps, steps, last.seconds, seconds, memory)
    if flight.seconds is not None:
        steps, seconds = (last.num_steps,) * 2, (flight.seconds / _RETOLD, flight.seconds * _RETOLD)
        return Prediction(label, MEASURED, last.num_steps, steps, flight.seconds, seconds, memory)
    half = halfway(flight.points)
    most = bound * last.num_steps / max(1, last.num_iterations)
    low, expected, high = _steps_left(flight.points, half, last, num_equations, tol, most - last.num_steps)
    rate = (last.seconds - half.seconds) / max(1, last.num_steps - half.num_steps)
    return Prediction(
        label,
        EXTRAPOLATED,
        round(last.num_steps + expected),
        (math.floor(last.num_steps + low), math.ceil(last.num_steps + high)),
        last.seconds + rate * expected,
        ((last.seconds + rate * low) / _RETOLD, (last.seconds + rate * high) * _RETOLD),
        memory,
    )


def scouted(said: Prediction, found: Prediction, certain: bool) -> Prediction:
    """What a scout ``found`` of a solver's steps and memory, and the modelled time of so many steps.

    Where its steps are ``certain``, it took no less than the solver compiled in full, and not many times more.
    """
    if found.basis == FAILED:
        return found
    few, ratio, many = (
        steps / max(1, said.num_steps) for steps in (found.steps_range[0], found.num_steps, found.steps_range[1])
    )
    seconds, (low, high) = said.time_s * ratio, said.time_range
    if not certain:
        return replace(found, basis=SCOUTED, time_s=seconds, time_range=(low * few, high * many))
    least, most = found.time_s / SLOWER_AT_MOST, found.time_s / math.sqrt(SLOWER)
    basis = HURRIED if found.basis == MEASURED else SCOUTED
    return replace(found, basis=basis, time_s=min(max(seconds, least), most), time_range=(least, found.time_s))


def halfway(points: Sequence[Point]) -> Point:
    """The last point that is at most half as far as the end, by steps."""
    return [point for point in points if 2 * point.num_steps <= points[-1].num_steps][-1]


def _steps_left(
    points: Sequence[Point], half: Point, last: Point, num_equations: int, tol: float, bound: float
) -> tuple[float, float, float]:
    """Least, expected and most steps that are left.

    A solve ends where the exact prefix reaches the end or where the residual reaches the tolerance, what comes first.
    Each is taken to go on as it went from half of the way to here; and as it went from the beginning, which tells
    how far that can be trusted.
    """
    first = points[0]  # of which there is no residual
    seen = next((point for point in points if math.isfinite(point.residual)), first)
    late = min(_by_frontier(half, last, num_equations), _by_residual(half, last, tol))
    all_along = min(_by_frontier(first, last, num_equations), _by_residual(seen, last, tol))
    expected = min(bound, late if math.isfinite(late) else all_along)
    others = [min(bound, max(1.0, each)) for each in (late, all_along) if math.isfinite(each)] or [bound]
    return min(*others, expected), expected, max(*others, expected)


def _by_frontier(earlier: Point, last: Point, num_equations: int) -> float:
    """Steps until the slowest sample is exact, at the mean speed of all: one that was slow so far need not stay so."""
    gained = last.frontier - earlier.frontier
    steps = last.num_steps - earlier.num_steps
    return (num_equations - last.slowest) * steps / gained if gained > 0 else math.inf


def _by_residual(earlier: Point, last: Point, tol: float) -> float:
    """Steps until the residual is within the tolerance, as it falls by the same factor in each."""
    usable = all(math.isfinite(r) and r > 0 for r in (earlier.residual, last.residual))
    if not usable or last.residual >= earlier.residual:
        return math.inf
    rate = math.log(earlier.residual / last.residual) / max(1, last.num_steps - earlier.num_steps)
    return max(1.0, math.log(last.residual / (tol or ROUNDING)) / rate)


def as_record(prediction: Prediction) -> dict[str, Any]:
    """The prediction as plain values."""
    return {name: getattr(prediction, name) for name in Prediction.__dataclass_fields__}


def from_record(record: dict[str, Any]) -> Prediction:
    """The prediction that ``as_record`` gave, also after it was JSON."""
    ranges = {name: tuple(record[name]) for name in ("steps_range", "time_range")}
    return Prediction(**{**record, **ranges})
