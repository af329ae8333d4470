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
from ..trees.precision import full_products
from .prediction import ROUNDING

_SWEEPS = 64  # of one state, at the most
_PLACES = 6  # at which exact values are seen to spread, at the least
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
    num_sweeps: int  # from the first guess
    settled: bool  # whether the last of them changed nothing
    frontier: float  # exact equations after them, the mean of the batch
    fading: float  # further sweeps until differences between two are lost in rounding; infinite where they do not fade
    compile_s: float
    cached_s: float | None = None  # of forward substitution, once that is known
    cold: Spread | None = None  # behind exact prefixes, into the first guess
    warm: Spread | None = None  # into what Jacobi's iteration has made of it

    @property
    def step_s(self) -> float:
        """What a step costs however little it computes: an equation of forward substitution, where that is known."""
        whole = self.sweep_s if self.cached_s is None else self.cached_s
        return whole / max(1, self.num_equations)

    @property
    def jacobi_steps(self) -> float:
        """The steps of Jacobi's iteration: seen, or as exact values spread at various places, or at the beginning."""
        total = float(self.num_equations)
        if self.settled:
            return float(self.num_sweeps)
        fading = min(total, self.num_sweeps + self.fading)
        if self.warm is not None:
            stretch = max(1, round(total / len(self.warm.room)))
            pace = self.warm.steps_through(stretch) / np.minimum(stretch, self.warm.room)
            return min(fading, float(np.mean(pace)) * total) + 1
        return min(fading, self.num_sweeps * total / max(self.frontier, 1.0)) + 1

    def steps_through(self, length: int) -> float:
        """Steps of Jacobi's iteration inside a block of ``length`` equations behind a prefix that is exact.

        Of a batch the slowest sample decides: as places differ like samples, it is a high quantile of the places.
        """
        if self.cold is None:
            return min(float(length), max(1.0, self.jacobi_steps * length / self.num_equations))
        steps = self.cold.steps_through(length)
        return min(float(length), float(np.quantile(steps, self.batch_size / (self.batch_size + 1))))


class Sweeps:
    """The compiled sweep of a system, and what it has led to from the first guess."""

    def __init__(self, system: Any, limit_s: float) -> None:
        """Sweep until nothing changes or ``limit_s`` seconds are over; if it goes on, three times at the least."""
        self._system, self._guess = system, jax.jit(lambda system: system.initial_guess())(system)
        begin = time.perf_counter()
        self._swept = jax.jit(_swept).lower(system, self._guess, self._guess, np.float32(0)).compile()
        compile_s = time.perf_counter() - begin
        seconds: list[float] = []
        gaps: list[float] = []  # between each state and the next
        self._x, settled, reached = self._guess, False, np.zeros(1)
        while len(seconds) < 3 or (sum(seconds) < limit_s and len(seconds) < _SWEEPS):
            begin = time.perf_counter()
            self._x, same, gap = jax.block_until_ready(self._swept(system, self._x, self._x, np.float32(0)))
            seconds.append(time.perf_counter() - begin)
            gaps.append(float(np.asarray(gap).max()))
            settled = bool(np.asarray(same).min(initial=system.num_equations) >= system.num_equations)
            reached = np.minimum(np.asarray(same) + 1, system.num_equations)
            if settled and len(seconds) > 1:
                break
        self.facts = Facts(
            num_equations=int(system.num_equations),
            batch_size=batch_size(self._guess),
            sweep_s=float(np.median(seconds[1:])),
            num_sweeps=len(seconds),
            settled=settled,
            frontier=float(reached.mean()),
            fading=_fading(gaps),
            compile_s=compile_s,
        )

    def look(self, exact: Any, limit_s: float) -> None:
        """See how exact values spread behind exact prefixes, into the first guess and into what came of it."""
        if self.facts.settled:
            return
        half = limit_s / 2
        reached = min(int(self.facts.frontier), self.facts.num_equations - 1)
        cold, warm = self._spread(exact, self._guess, half, 0), self._spread(exact, self._x, half, reached)
        self.facts = dataclasses.replace(self.facts, cold=cold, warm=warm)

    def _spread(self, exact: Any, behind: Any, limit_s: float, first: int) -> Spread:
        """Sweeps of states that are exact up to places from ``first`` on, different ones in each sample."""
        total, batch = self.facts.num_equations, self.facts.batch_size
        rounds = max(1, math.ceil(_PLACES / batch))
        sweeps = max(2, min(_SWEEPS, int(limit_s / rounds / max(self.facts.sweep_s, 1e-6))))
        places = (first + np.arange(rounds * batch) * (total - first) // (rounds * batch)).astype(np.int32)
        columns = []
        for starts in places.reshape(batch, rounds).T:
            z = select(prefix_mask(jnp.asarray(starts), total), exact, behind)
            columns.append(np.stack(list(self._grown(z, exact, starts, sweeps))))
        room = np.concatenate([total - starts for starts in places.reshape(batch, rounds).T])
        return Spread(np.concatenate(columns, axis=1), room.astype(float))

    def _grown(self, z: Any, exact: Any, starts: Int[np.ndarray, " B"], sweeps: int) -> Iterator[np.ndarray]:
        for _ in range(sweeps):
            z, same, _ = self._swept(self._system, z, exact, np.float32(_SAME))
            yield (np.asarray(same) - starts).astype(float)


def _fading(gaps: Sequence[float]) -> float:
    """Sweeps until the last of some differences is lost in rounding, as it fell in the second half of them."""
    first, last = gaps[len(gaps) // 2], gaps[-1]
    if not 0.0 < last < first < math.inf:
        return 0.0 if last == 0.0 else math.inf
    steps = len(gaps) - 1 - len(gaps) // 2
    return max(0.0, math.log(last / ROUNDING) * steps / math.log(first / last))


@full_products
def _swept(
    system: Any, x: Any, other: Any, within: Float[Array, ""]
) -> tuple[Any, Int[Array, " B"], Float[Array, " B"]]:
    """F(x), how many of its first equations are those of another state, and how far the farthest of all is from that.

    They are the same where they differ by no more than ``within`` of their size.
    """
    y, total = isolated(lambda system, x: system.sweep(x), x, system, x), system.num_equations
    gap = compare(y, other, total)
    apart = jnp.where(gap.relative <= within, total, jnp.arange(total, dtype=jnp.int32)[:, None])
    return y, jnp.min(apart, axis=0, initial=total), gap.residual
