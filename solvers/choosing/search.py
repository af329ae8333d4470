"""The search for the best of some candidates: which of them are flown, in what order, as far as the budget goes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from ..methods.gs_jacobi import GSJacobi
from ..methods.sequential import Sequential
from ..solver import Solver
from .candidates import is_forward, kind
from .facts import Sweep, Sweeps, unknown
from .known import Known
from .model import modelled
from .pilot import Pilot
from .prediction import EXTRAPOLATED, FAILED, MEASURED, SWEPT, Prediction
from .program import SLOWER, SLOWER_AT_MOST, TOGETHER, CompileTimes, Program, side_by_side, timed

_SWEEP = 0.25  # share of the budget that compiling the sweep in full may take
_LOOKING = (0.05, 0.1)  # shares of the budget in which sweeps are looked at, before its solution is known, and after
_SCOUTING = 0.7  # share of the budget in which kinds of solvers are scouted
_PILOTS = 0.95  # share of the budget in which pilots are to be over; the rest is for timing the best again
_LEAST_S = 0.2  # how long a pilot may fly at the least
_SHARE = 6  # what part of the rest of the budget a pilot may fly at the most
_BEYOND = 1.5  # how long a pilot may fly, in units of the best time so far
_SCOUT = 0.8  # how long a scout may fly, as a share of what compiling it took; twice that where it was asked about
_STEP = 0.2  # share of the budget that a single step may take
_NEAR = 2.5  # those that are expected to take this many times the best's time may yet be the best
_CLOSE = 2.0  # candidates within this factor of the best are timed against each other
_FINAL_ROUNDS = 3, 50  # at the least, and at the most where they are short
_LONGER = 1.5  # times longer than expected such a round may take
_END = 0.99  # share of the budget in which these rounds are over
_CACHED_S = 0.1  # of a solve shorter than this it counts whether its values are in the caches
_FINAL = 0.1  # share of the budget that these rounds may take, beyond the least


class Turn(NamedTuple):
    """The candidates to try now: they are compiled side by side, and flown one after another."""

    labels: tuple[str, ...]
    quick: bool  # scouted: only their steps are wanted


class Search:
    """The candidates, what is known of each by now, and the pilots that were flown."""

    def __init__(
        self,
        system: Any,
        found: Mapping[str, Solver],
        objective: str,
        budget_s: float,
        begin: float,
        listed: Collection[str] = (),
    ) -> None:
        """Sweep, and expect what the model says.

        ``begin`` is when choosing began, by ``time.perf_counter``. ``listed`` are the labels of candidates that were
        asked about: of all kinds theirs are scouted first.
        """
        self.begin, self.budget_s = begin, budget_s
        self.system, self.found, self.objective, self.listed = system, found, objective, listed
        self.pilots: dict[str, Pilot] = {}  # those that are near the best
        self.programs: dict[str, Program] = {}  # those that were traced
        self.traced_s: list[float] = []  # what tracing each of them took
        self.compile_times = CompileTimes()
        # How many times longer an iteration took in a hurry than was expected, at the most.
        self.slowness = math.sqrt(SLOWER * SLOWER_AT_MOST)
        self.lost: set[tuple[str, bool]] = set()  # what could not be compiled or run, and whether in a hurry
        self.late: set[tuple[str, bool]] = set()  # what would not have been compiled and flown in time
        lengths = [each.block_length(system) for each in found.values() if isinstance(each, GSJacobi)]
        self.longest = max(lengths, default=0)  # blocks of GS-Jacobi
        self.known = self._begin()

    @property
    def spent_s(self) -> float:
        """Seconds since the search began."""
        return time.perf_counter() - self.begin

    def fly(self, tell: Callable[[str], None]) -> None:
        """Fly pilots until the budget is spent, and look with what is left of it at those that were not flown."""
        while True:
            while (turn := self._next()) is not None:
                for label in turn.labels:
                    tell(label)
                self._try(turn)
            if not self.known.look((_PILOTS * self.budget_s - self.spent_s) / 2):
                return

    def compare_the_best(self) -> None:
        """Time those close to the best in turn, for their medians: what disturbed one pilot would decide otherwise.

        A short one runs twice in its turn and the second run counts: the first finds the caches full of another's
        values. Where there is no time for a few rounds, the times of the pilots stand.
        """
        if self.objective != "time":
            return
        limit = _CLOSE * self.known.best.time_s
        expected = {label: self.known.expected[label] for label in self.pilots}
        close = [label for label, each in expected.items() if each.basis == MEASURED and each.time_s <= limit]
        twice = [label for label in close if expected[label].time_s < _CACHED_S and len(close) > 1]
        round_s = sum(expected[label].time_s for label in (*close, *twice))
        begin, rounds = self.spent_s, 0
        seconds: dict[str, list[float]] = {label: [] for label in close}
        least = _FINAL_ROUNDS[0]
        most = _FINAL_ROUNDS[1] if len(close) > 1 else least  # alone it is the best, however long it takes
        while rounds < most:
            needed = max(1, least - rounds)
            if self.spent_s + _LONGER * needed * round_s > _END * self.budget_s:
                break
            if rounds >= least and self.spent_s - begin > _FINAL * self.budget_s:
                break
            for label in close:
                if label in twice:
                    self.pilots[label].time()
                seconds[label].append(self.pilots[label].time())
            rounds += 1
        if rounds >= least:
            for label, times in seconds.items():
                self.known.retime(label, statistics.median(times))

    def outcome(self) -> tuple[str, tuple[Prediction, ...]]:
        """The label of the best, and all predictions in order. Raises RuntimeError where none could be run."""
        best = self.known.best
        if best.basis == FAILED:
            raise RuntimeError(f"no solver could be run on {type(self.system).__name__}")
        return best.label, tuple(sorted(self.known.expected.values(), key=self.known.rank))

    def _begin(self) -> Known:
        """What is expected after sweeps; what is likely to be flown first is compiled in a hurry beside the sweep.

        How long the sweep took to compile in a hurry decides: where that is short it is compiled in full, else sweeps
        are made while the other is still compiled, and seem to take the longer for it.
        """
        sweep = Sweep(self.system)
        before, after = (share * self.budget_s for share in _LOOKING)
        with ThreadPoolExecutor(TOGETHER) as pool:
            sweeping = pool.submit(timed, partial(sweep.compile, quick=True))
            programs = dict(self._traced(self._likely(), quick=True))
            compiling = {
                label: pool.submit(timed, partial(Pilot, each, quick=True)) for label, each in programs.items()
            }
            swept, seconds = sweeping.result()
            self._compiled(sweep.size, True, swept, seconds)
            failed = isinstance(swept, Exception)
            in_full = failed or self.compile_times.expected(sweep.size, False) <= _SWEEP * self.budget_s
            sweeps = None if in_full else Sweeps(sweep, swept, before, hurried=True)
        if sweeps is None:
            begin = time.perf_counter()
            swept = sweep.compile(quick=False)
            self.compile_times.add(sweep.size, False, time.perf_counter() - begin)
            sweeps = Sweeps(sweep, swept, before)
        known = self.known = Known(self.system, self.found, self.objective, sweeps, after)
        for label, future in compiling.items():
            self._scout_first(label, *future.result())
        return known

    def _likely(self) -> list[str]:
        """What is likely to be flown first: forward substitution, else what the model takes for the best so far."""
        forward = [label for label, solver in self.found.items() if is_forward(solver)]
        if self.objective == "memory":  # which compiling tells, and not compiling in a hurry
            return []
        if forward:
            return forward[:1]
        facts = unknown(self.system)
        others = {label: solver for label, solver in self.found.items() if not isinstance(solver, Sequential)}
        said = [modelled(label, solver, self.system, facts) for label, solver in others.items()]
        return [each.label for each in sorted(said, key=lambda each: each.cost(self.objective))][:1]

    def _scout_first(self, label: str, pilot: Pilot | Exception, seconds: float) -> None:
        """Fly what was compiled beside the sweep in ``seconds``, unless there is time to compile it in full."""
        self._compiled(self.programs[label].size, True, pilot, seconds)
        if self._turn([label], False, _PILOTS) is not None:
            return
        left = max(_LEAST_S, _PILOTS * self.budget_s - self.spent_s)
        # Forward substitution that comes to its end tells the solution.
        limit_s = left / 2 if is_forward(self.found[label]) else self._limit(label, True, seconds)
        if self._trace_s(None) + self.compile_times.expected(None, True) > left - limit_s:
            limit_s = left  # nothing else could be scouted
        self._fly(label, True, pilot, limit_s)

    def _next(self) -> Turn | None:
        """Forward substitution first, as it tells what a small step costs; then scouts, then what may be the best."""
        known, done = self.known, (MEASURED, EXTRAPOLATED, FAILED)
        waiting = [label for label in self.found if known.expected[label].basis not in done]
        by_memory = self.objective == "memory"  # which compiling tells, and not compiling in a hurry
        if not by_memory:  # the sweep tells all of naive forward substitution
            waiting = [label for label in waiting if not isinstance(self.found[label], Sequential)]
        wanted = "steps" if self.objective == "steps" else "time"
        waiting.sort(key=lambda label: known.expected[label].cost(wanted))
        short = [label for label in waiting if known.step_s(label) <= _STEP * self.budget_s]  # a pilot takes one step
        if known.nothing:
            return self._first(waiting, short)
        if not known.flown and (turn := self._turn(filter(known.is_forward, short), False, _PILOTS)):
            return turn
        scouts = [] if by_memory else [label for label in short if self._untold(label)]
        scouts.sort(key=lambda label: label not in self.listed)
        gone = (label for label, _ in self.lost | self.late)
        tried = {self._sort(label) for label in (*known.flown, *known.scouts, *gone)}
        kinds: dict[tuple[Any, ...], str] = {}
        for label in scouts:
            if self._sort(label) not in tried:
                kinds.setdefault(self._sort(label), label)
        limit = math.inf if by_memory else _NEAR * known.best.cost(wanted)
        near = [label for label in short if known.expected[label].cost(wanted) <= limit]
        flown = {kind(self.found[label]) for label in known.flown}
        near.sort(key=lambda label: kind(self.found[label]) in flown)  # what is of another kind may be far better
        promising = known.promising if wanted == "time" and not by_memory else []
        return (
            self._turn((label for label in promising if label in near), False, _PILOTS)
            or self._turn(kinds.values(), True, _SCOUTING)
            or self._turn(near, False, _PILOTS)
            or self._turn(kinds.values(), True, _PILOTS)
            or self._turn(scouts, True, _PILOTS)
        )

    def _first(self, waiting: Sequence[str], short: Sequence[str]) -> Turn | None:
        """The first of all, in a hurry if there is no time for more: something is to be known in the end."""
        quick = self.objective != "memory"
        gone = {label for label, _ in self.lost}
        left = [label for label in waiting if label not in gone]
        late = {label for label, _ in self.late}
        fresh = [label for label in left if label not in late]
        forward = [label for label in fresh if self.known.is_forward(label)]
        best = [*forward, *(label for label in short if label in fresh), *fresh][:1]
        if not best and left:  # all would take too long: the smallest takes the least
            return Turn((min(left, key=lambda label: self.programs[label].size),), quick)
        return self._turn(best, False, _PILOTS) or (Turn(tuple(best), quick) if best else None)

    def _untold(self, label: str) -> bool:
        """Whether a scout would tell anything."""
        return label not in self.known.scouts and self.known.expected[label].basis != SWEPT

    def _sort(self, label: str) -> tuple[Any, ...]:
        """What is scouted once: a kind of solver, and of GS-Jacobi the longest blocks, which tell how steps grow."""
        solver = self.found[label]
        return kind(solver), isinstance(solver, GSJacobi) and solver.block_length(self.system) == self.longest

    def _turn(self, labels: Iterable[str], quick: bool, share: float) -> Turn | None:
        """The first of them that are likely to be over within that share of the budget; None where none is."""
        chosen: list[str] = []
        booked_s = 0.0  # for tracing and flying those before, while compiling goes on side by side
        for label in labels:
            if (label, quick) in self.lost | self.late or len(chosen) == (TOGETHER if quick else 1):
                continue
            trace_s, compile_s, flight_s = self._takes(label, quick)
            if self.spent_s + booked_s + trace_s + compile_s + flight_s <= share * self.budget_s:
                chosen.append(label)
                booked_s += trace_s + flight_s
        return Turn(tuple(chosen), quick) if chosen else None

    def _takes(self, label: str, quick: bool) -> tuple[float, float, float]:
        """Seconds that tracing a pilot, compiling it and flying it are expected to take."""
        program = self.programs.get(label)
        compile_s = self.compile_times.expected(None if program is None else program.size, quick)
        flight_s = max(self._step_s(label, quick), self._limit(label, quick, compile_s))
        return self._trace_s(label), compile_s, flight_s

    def _step_s(self, label: str, quick: bool) -> float:
        """Seconds that an iteration is expected to take, the least that a pilot flies."""
        return self.known.hurried_step_s(label, self.slowness) if quick else self.known.step_s(label)

    def _trace_s(self, label: str | None) -> float:
        """Seconds that tracing is expected to take, of any candidate where ``label`` is None; 0 where it is done."""
        return 0.0 if label in self.programs or not self.traced_s else statistics.mean(self.traced_s)

    def _limit(self, label: str, quick: bool, compile_s: float) -> float:
        """How long a pilot may fly that was compiled in ``compile_s`` seconds."""
        left = self.budget_s - self.spent_s
        if quick:
            return max(_LEAST_S, min(left, _SCOUT * compile_s * (2 if label in self.listed else 1)))
        flown = [each.time_s for each in self.known.expected.values() if each.basis == MEASURED]
        return max(_LEAST_S, min(left / _SHARE, _BEYOND * min(flown, default=left)))

    def _try(self, turn: Turn) -> None:
        """Pilots of one turn, but for those for which there turns out to be no time.

        That is where a program is larger than was expected, or compiling took longer, or flying those before it.
        """
        quick = turn.quick
        programs: dict[str, Program] = {}

        def jobs() -> Iterator[Callable[[], Pilot]]:  # noted in programs when handed out
            for label, program in self._traced(turn.labels, quick):
                # Where nothing is known in the middle of the time, what takes long is better than nothing in the end.
                forced = self.known.nothing and ((label, quick) in self.late or self.spent_s > self.budget_s / 2)
                if not forced and self.spent_s + sum(self._takes(label, quick)) > self.budget_s:
                    self.late.add((label, quick))
                else:
                    programs[label] = program
                    yield partial(Pilot, program, quick=quick)

        done = side_by_side(jobs())
        for (label, program), (pilot, seconds) in zip(programs.items(), done, strict=True):
            self._compiled(program.size, quick, pilot, seconds)
            wanted = self.known.nothing or self.objective == "memory"  # which compiling has told
            overdue = self.spent_s + self._step_s(label, quick) > self.budget_s
            if overdue and not wanted and not isinstance(pilot, Exception):
                self.late.add((label, quick))
            else:
                self._fly(label, quick, pilot, self._limit(label, quick, seconds))

    def _traced(self, labels: Iterable[str], quick: bool) -> Iterator[tuple[str, Program]]:
        """Programs of those that can be traced, one after another."""
        for label in labels:
            if label not in self.programs:
                begin = time.perf_counter()
                try:
                    self.programs[label] = Program(self.system, self.found[label])
                except (MemoryError, RuntimeError):
                    self._lose(label, quick)
                    continue
                self.traced_s.append(time.perf_counter() - begin)
            yield label, self.programs[label]

    def _lose(self, label: str, quick: bool) -> None:
        """A program that cannot be compiled or run is no candidate; of one in a hurry it may be the hurry."""
        self.lost.add((label, quick))
        if not quick:
            self.known.fail(label)

    def _compiled(self, size: int, quick: bool, done: Any, seconds: float) -> None:
        """Learn what compiling took, unless it failed."""
        if not isinstance(done, Exception):
            self.compile_times.add(size, quick, seconds)

    def _fly(self, label: str, quick: bool, pilot: Pilot | Exception, limit_s: float) -> None:
        """One pilot, or why it could not be compiled."""
        try:
            if isinstance(pilot, Exception):
                raise pilot
            flight = pilot.fly(limit_s, max(_LEAST_S, _PILOTS * self.budget_s - self.spent_s))
        except (MemoryError, RuntimeError):
            self._lose(label, quick)
            return
        if not quick:
            self.pilots[label] = pilot
        elif not self.known.is_forward(label):
            last = flight.points[-1]
            longer = last.seconds / max(1, last.num_iterations) / max(self.known.step_s(label), 1e-9)
            self.slowness = min(SLOWER_AT_MOST, max(self.slowness, longer))
        self.known.add(label, flight, pilot.memory_bytes, quick)
        near = _CLOSE * self.known.best.time_s
        self.pilots = {label: self.pilots[label] for label in self.pilots if self.known.expected[label].time_s <= near}
