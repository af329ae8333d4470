"""What a few sweeps tell of a system: what one costs, and how fast exact values spread in Jacobi's iteration."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..equations import batch_size, compare, isolated, prefix_mask, select
from ..system import MarkovSystem
from ..trees.precision import full_products
from .candidates import features_of, floats_of
from .forgetting import apart
from .prediction import ROUNDING
from .program import SLOWER, compiled, operations

_SWEEPS = 64  # of one state, at the most
_ENOUGH = 6  # sweeps from which on it can be told how differences fade
_STEADY = 0.5  # part of the rate at which they faded before, at the least
_PLACES = 6  # at which exact values are seen to spread, at the least
_GUESSED = 4.0  # equations that become exact in a sweep, before any was seen: as many as in systems that gain by blocks
_SAME = 1e-4  # how near to the solution an equation counts as exact, where two passes may round differently


class Spread(NamedTuple):
    """How many equations behind an exact prefix are exact after each of S sweeps, at N places: (S, N).

    Those of a prefix that ends near the end of the system stop growing there.
    """

    grown: Float[np.ndarray, "S N"]
    room: Float[np.ndarray, " N"]  # equations behind each prefix

    def steps_through(self, length: int) -> Float[np.ndarray, " N"]:
        """Sweeps until ``length`` equations are exact, at each place; extrapolated from those that were seen."""
        sweeps = np.arange(1, len(self.grown) + 1)
        seen = np.maximum(self.grown, 1.0)
        wanted = np.minimum(length, self.room)
        first = np.argmax(seen >= wanted, axis=0) + 1.0
        speed = np.maximum(1.0, seen[-1] / len(sweeps))
        return np.where(seen[-1] >= wanted, first, len(sweeps) + (wanted - seen[-1]) / speed)


@dataclass(frozen=True)
class Facts:
    """A system under the first sweeps of Jacobi's iteration."""

    num_equations: int
    batch_size: int
    sweep_s: float
    gaps: tuple[float, ...]  # how far the state of each sweep from the first guess on is from the last, as tol measures
    settled: bool  # whether the last of them changed nothing
    frontier: float  # exact equations after them, the mean of the batch
    hurried: bool = False  # whether the sweep was compiled in a hurry, so that what it takes is guessed
    num_features: int = 0  # of an equation's value, where it is of order one and in floats
    num_floats: int = 0  # of all equations' values of a sample
    apart: tuple[float, ...] = ()  # of two states of a system of order one, after each transition that both take
    cached_s: float | None = None  # of forward substitution, once that is known
    beside_s: float | None = None  # that a step of a solver with blocks took beside what it swept, once one was timed
    cold: Spread | None = None  # behind exact prefixes, into the first guess
    warm: Spread | None = None  # into what Jacobi's iteration has made of it
    blocks: tuple[tuple[int, float], ...] = ()  # lengths that were solved in order, and sweeps that each block took

    @property
    def step_s(self) -> float:
        """What a step costs however little it computes: an equation of forward substitution, where that is known."""
        whole = self.sweep_s if self.cached_s is None else self.cached_s
        return whole / max(1, self.num_equations)

    @property
    def block_s(self) -> float:
        """What a step of a solver with blocks costs however little it computes."""
        return self.step_s if self.beside_s is None else max(self.step_s, self.beside_s)

    def ends(self, tol: float) -> int | None:
        """Sweeps after which differences are within ``tol``; None where that was not seen."""
        seen = next((i for i, gap in enumerate(self.gaps, 1) if gap <= tol), None)
        return len(self.gaps) if seen is None and self.settled else seen

    def fading(self, tol: float) -> float:
        """Sweeps until differences are within ``tol`` or lost in rounding; infinite where they do not fade."""
        seen = self.ends(tol)
        return _fading(self.gaps, tol) if seen is None else float(seen)

    def forgetting(self, tol: float) -> float:
        """Sweeps until no equation knows of the guess any more, which it has read as many equations away."""
        return _fading(self.apart, tol)

    def jacobi_steps(self, tol: float) -> float:
        """The steps of Jacobi's iteration: seen, or as blocks went, or as exact values spread."""
        fading = min(float(self.num_equations), self.fading(tol))
        if self.ends(tol) is not None:
            return fading
        solved = max(float(len(self.gaps)), min(self.forgetting(tol), self._spreading()))
        return min(fading, solved + 1)

    def _spreading(self) -> float:
        """Sweeps until exact values have spread to the end."""
        total = float(self.num_equations)
        if self.blocks:
            return self.steps_through(self.num_equations)
        if self.warm is not None:
            stretch = max(1, round(total / len(self.warm.room)))
            wanted = np.minimum(stretch, self.warm.room)
            return total * float(np.sum(self.warm.steps_through(stretch)) / np.sum(wanted))
        return len(self.gaps) * total / max(self.frontier, 1.0)

    def steps_through(self, length: int) -> float:
        """Sweeps inside a block of ``length`` equations behind an exact prefix until it is exact.

        As other blocks went, where some did: between two lengths, and beyond them, sweeps are a power of the length.
        """
        looked = self._looked_through(length)
        if not self.blocks:
            return looked
        blocks = sorted(self.blocks)
        (short, few), (long, many) = _nearest(blocks, length)
        if short == long:
            return _within(length, few * looked / self._looked_through(short))
        slope = math.log(max(many, 1.0) / max(few, 1.0)) / math.log(long / short)
        near, sweeps = (short, few) if length <= short else (long, many)
        return _within(length, max(sweeps, 1.0) * (length / near) ** min(1.0, max(0.0, slope)))

    def _looked_through(self, length: int) -> float:
        """The same as sweeps alone tell it: of a batch the slowest sample decides.

        As places differ like samples, that is a high quantile of the places.
        """
        if self.cold is None:
            pace = len(self.gaps) / max(self.frontier, 1.0)
            return _within(length, pace * length)
        steps = self.cold.steps_through(length)
        return _within(length, float(np.quantile(steps, self.batch_size / (self.batch_size + 1))))


def _fading(distances: Sequence[float], tol: float) -> float:
    """After how many steps distances are within ``tol`` or lost in rounding; infinite where they do not fade.

    Where that was not seen they are taken to go on falling as in the second half of the steps, unless they fall much
    slower there than before.
    """
    seen = next((i for i, distance in enumerate(distances, 1) if distance <= tol), None)
    if seen is not None:
        return float(seen)
    half = len(distances) // 2
    if len(distances) < _ENOUGH or not 0.0 < distances[-1] < distances[half] < math.inf:
        return math.inf
    steps = len(distances) - 1 - half
    rate = math.log(distances[half] / distances[-1]) / steps
    if 0.0 < distances[0] < math.inf and rate < _STEADY * math.log(distances[0] / distances[half]) / half:
        return math.inf
    return len(distances) + max(0.0, math.log(distances[-1] / max(tol, ROUNDING)) / rate)


def _nearest(blocks: Sequence[tuple[int, float]], length: int) -> tuple[tuple[int, float], tuple[int, float]]:
    """Of blocks in order the two between which ``length`` lies, or is nearest to; one twice where there is one."""
    after = next((i for i, (size, _) in enumerate(blocks) if size >= length), len(blocks) - 1)
    last = max(after, min(1, len(blocks) - 1))
    return blocks[max(0, last - 1)], blocks[last]


def _within(length: int, steps: float) -> float:
    """No fewer than one step, and no more than there are equations."""
    return min(float(length), max(1.0, steps))


def unknown(system: Any) -> Facts:
    """What is guessed before any sweep: its time is the unit, and a few equations become exact in each."""
    guess = jax.eval_shape(lambda: system.initial_guess())
    return Facts(
        num_equations=int(system.num_equations),
        batch_size=batch_size(guess),
        sweep_s=1.0,
        gaps=(math.inf,),
        settled=False,
        frontier=_GUESSED,
        num_features=features_of(system),
        num_floats=floats_of(guess),
    )


def _least_sweeps(first_s: float, limit_s: float, hurried: bool) -> int:
    """How many sweeps are made at the least, where the first took so long."""
    if hurried and first_s > 2 * limit_s:
        return 1
    return 3 if first_s < limit_s else 2


class Sweep:
    """The sweep of a system, traced and lowered; ``compile`` may be called in any thread."""

    def __init__(self, system: Any) -> None:
        """Trace. ``size`` is the number of operations, ``guess`` the first guess."""
        self.system = system
        self.guess = jax.jit(lambda system: system.initial_guess())(system)
        traced = jax.jit(_swept).trace(system, self.guess, self.guess, np.float32(0))
        self.size = operations(traced.jaxpr.jaxpr)
        self._lowered = traced.lower()

    def compile(self, quick: bool) -> Any:
        """The executable. ``quick`` compiles in half of the time or less what runs longer."""
        return compiled(self._lowered, quick)


class Sweeps:
    """The compiled sweep of a system, and what it has led to from the first guess."""

    def __init__(self, sweep: Sweep, swept: Any, limit_s: float, hurried: bool = False) -> None:
        """Sweep until nothing changes or ``limit_s`` seconds are over, a few times at the least.

        That is three times, twice where one sweep takes that long, and once where one by a hurried program takes twice
        as long. ``swept`` is what ``sweep`` was compiled to, in full unless it was ``hurried``.
        """
        self._system, self._guess, self._swept = sweep.system, sweep.guess, swept
        self._looked = 0  # sweeps of places
        system = sweep.system
        seconds: list[float] = []
        gaps: list[float] = []  # between each state and the next
        self._x, settled, reached = self._guess, False, np.zeros(1)
        while not seconds or len(seconds) < (
            _SWEEPS if sum(seconds) < limit_s else _least_sweeps(seconds[0], limit_s, hurried)
        ):
            begin = time.perf_counter()
            self._x, same, gap = jax.block_until_ready(self._swept(system, self._x, self._x, np.float32(0)))
            seconds.append(time.perf_counter() - begin)
            gaps.append(float(np.asarray(gap).max()))
            settled = bool(np.asarray(same).min(initial=system.num_equations) >= system.num_equations)
            reached = np.minimum(np.asarray(same) + 1, system.num_equations)
            if settled and len(seconds) > 1:
                break
        self._seconds = float(np.median(seconds[1:] or seconds))
        self.facts = Facts(
            num_equations=int(system.num_equations),
            batch_size=batch_size(self._guess),
            sweep_s=self._seconds / (SLOWER if hurried else 1.0),
            gaps=tuple(gaps),
            settled=settled,
            # A second sweep tells what is exact, as it leaves that unchanged; after one it is guessed.
            frontier=float(reached.mean()) if len(seconds) > 1 else max(_GUESSED, float(reached.mean())),
            hurried=hurried,
            num_features=features_of(system),
            num_floats=floats_of(self._guess),
        )
        if isinstance(system, MarkovSystem) and not settled and not hurried:
            found = apart(system, self._guess, self._x, self.facts.sweep_s, limit_s)
            self.facts = dataclasses.replace(self.facts, apart=found)

    def look(self, exact: Any, limit_s: float) -> bool:
        """See how exact values spread behind exact prefixes, into the first guess and into what came of it.

        Returns whether more was seen than before. Two sweeps of each round are made at the least, but not by a
        hurried program that would take more than twice ``limit_s`` for them.
        """
        total, batch = self.facts.num_equations, self.facts.batch_size
        rounds = min(math.ceil(2 * _PLACES / batch), int(limit_s / 2 / max(self._seconds, 1e-6)))
        rounds = max(math.ceil(2 / batch), rounds)
        sweeps = max(2, min(_SWEEPS, int(limit_s / rounds / max(self._seconds, 1e-6))))
        too_long = self.facts.hurried and rounds * sweeps * self._seconds > 2 * limit_s
        if self.facts.settled or rounds * sweeps <= self._looked or too_long:
            return False
        self._looked = rounds * sweeps
        # Each sample of each round looks at a place of its own, the first half of them at what lies behind cold ones.
        warm = np.arange(rounds * batch) >= (rounds * batch + 1) // 2
        reached = min(int(self.facts.frontier), total - 1)
        first, last = np.where(warm, reached, 0), np.where(warm, np.cumsum(warm) - 1, np.arange(rounds * batch))
        starts = (first + last * (total - first) // np.where(warm, warm.sum(), (~warm).sum())).astype(np.int32)
        columns = []
        for places, heated in zip(starts.reshape(rounds, batch), warm.reshape(rounds, batch), strict=True):
            behind = select(jnp.broadcast_to(heated, (total, batch)), self._x, self._guess)
            z = select(prefix_mask(jnp.asarray(places), total), exact, behind)
            columns.append(np.stack(list(self._grown(z, exact, places, sweeps))))
        grown, room = np.concatenate(columns, axis=1), (total - starts).astype(float)
        cold, hot = (Spread(grown[:, which], room[which]) for which in (~warm, warm))
        self.facts = dataclasses.replace(self.facts, cold=cold, warm=hot)
        return True

    def _grown(self, z: Any, exact: Any, starts: Int[np.ndarray, " B"], sweeps: int) -> Iterator[np.ndarray]:
        for _ in range(sweeps):
            z, same, _ = self._swept(self._system, z, exact, np.float32(_SAME))
            yield (np.asarray(same) - starts).astype(float)


@full_products
def _swept(
    system: Any, x: Any, other: Any, within: Float[Array, ""]
) -> tuple[Any, Int[Array, " B"], Float[Array, " B"]]:
    """F(x), how many of its first equations are those of another state, and how far the farthest of all is from that.

    They are the same where they differ by no more than ``within`` of their size. Distances are in units of what came
    before, as those that a solver's tolerance is held against.
    """
    y, total = isolated(lambda system, x: system.sweep(x), x, system, x), system.num_equations
    gap = compare(y, other, total)
    apart = jnp.where(gap.relative <= within, total, jnp.arange(total, dtype=jnp.int32)[:, None])
    return y, jnp.min(apart, axis=0, initial=total), jnp.max(gap.relative, axis=0, initial=0.0)
