"""Any list of solvers on a system of order one within limits, beside its largest Lyapunov exponent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from pydantic import Field, field_validator
from rich.console import Console

from runners.config.schema import Count, RunConfig
from runners.config.solvers import SolverEntry, SolverList, refusal
from runners.measure.comparison import NAIVE_LENGTH, Comparison, compare_solvers, comparison_table, too_long
from runners.measure.job import Frames, Job, Row
from runners.measure.processes import gathered
from runners.measure.timing import Slice, Times, follow
from runners.report.table import ResultTable
from runners.report.units import format_bytes
from solvers import Solution, Status
from solvers.equations import batch_size
from solvers.linear.linearize import ravel
from solvers.lyapunov import advice, largest_lyapunov_exponent, pays

BASELINE = "cached_sequential"  # one compiled scan: the reference of all errors and what every time is held against
_BURN_IN = 100  # steps in which a deviation finds the direction that grows fastest; a tenth of shorter sequences
_FLOAT_BYTES = 4
_POINTS = 400  # how long a trace is, at the most

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class OrderOneConfig(RunConfig):
    """The keys of an experiment on systems of order one, chaotic ones among them: which solvers, and their limits."""

    # Each {name: ..., options}, where max_steps, repeats and trace are options of every solver and the latter two
    # override the run's. cached_sequential must be among them: it is the reference.
    solvers: SolverList
    repeats: Count = 5  # timed runs of each solver, after one that is not; as many as fit into time_limit_s
    time_limit_s: Positive = 20.0  # for each run of each solver: nothing hangs on a chaotic system
    memory_limit_mib: Positive = 2048.0  # a solver that would need more is left out
    sequential_max_length: Count = NAIVE_LENGTH  # naive sequential evaluation is left out of longer systems
    trace: bool = True  # residual and frontier by step

    @field_validator("solvers")
    @classmethod
    def _need_baseline(cls, value: list[SolverEntry]) -> list[SolverEntry]:
        if BASELINE not in [entry.name for entry in value if entry.stop is None]:
            raise ValueError(f"{BASELINE} must be among them, without a stop: errors and times are held against it")
        return value


@dataclass(frozen=True)
class OrderOneResult:
    """All that was measured on one system."""

    comparison: Comparison
    exponents: list[float]  # largest Lyapunov exponent of each sample
    features: int  # D: numbers in the state of a sample

    @property
    def exponent(self) -> float:
        """The largest of the batch: a batch is done when its last sample is."""
        return max(self.exponents) if np.isfinite(self.exponents).all() else float("nan")

    @property
    def baseline(self) -> Row:
        """The row that all others are held against."""
        return next(row for row in self.comparison.rows if row.entry.name == BASELINE)

    @property
    def surprises(self) -> list[Row]:
        """Rows that did not converge though the dynamics are not chaotic."""
        return [row for row in self.comparison.rows if row.status.is_failure and pays(self.exponent)]

    @property
    def record(self) -> dict[str, Any]:
        """As results.json holds it."""
        comparison = self.comparison
        return {
            "num_equations": comparison.num_equations,
            "features": self.features,
            "batch_size": comparison.batch_size,
            "lyapunov": self.exponent,
            "lyapunov_by_sample": self.exponents,
            "pays": pays(self.exponent),
            "advice": self.advice,
            "sweep_s": dataclasses.asdict(comparison.sweep_s),
            "error_reference": comparison.reference_label,
            "fastest": comparison.fastest,
            "rows": [comparison.record(row) for row in comparison.rows],
            "skipped": [skipped.record for skipped in comparison.skipped],
        }

    @property
    def traces(self) -> dict[str, np.ndarray]:
        """As traces.npz holds them, behind a key of the system's."""
        return {
            f"{row.label}/{name}": array for row in self.comparison.rows for name, array in (row.trace or {}).items()
        }

    def table(self, title: str) -> ResultTable:
        """The solvers; below them what the dynamics mean, and which solvers were left out."""
        table = comparison_table(self.comparison, title)
        return dataclasses.replace(table, note="\n".join([table.note, self.advice, *self.comparison.sentences]))

    @property
    def advice(self) -> str:
        """What the exponent means for the choice of a solver."""
        return advice(self.exponent, self.comparison.num_equations)

    @property
    def failure(self) -> str | None:
        """Why a solver could not be measured, or the exact solution was not found; None where all went well.

        No solver is blamed for what it does on its way to an answer that can be chaotic: that is the finding.
        """
        if self.comparison.failure:
            return self.comparison.failure
        row = self.baseline
        return None if row.status is Status.CONVERGED else f"{row.label}: {row.status.sentence}"


class TracePoint(NamedTuple):
    """A solve after one of its iterations."""

    num_steps: int
    time_s: float
    residual: float  # the largest of the batch
    frontier: int  # the smallest


class SteppedJob(Job):
    """Runs of which the first is followed step by step, and that are repeated as far as the time limit allows.

    Following costs a stop after every step, and no program of its own.
    """

    def measure(self) -> Solution[Any]:
        """The first run, then the timed ones, as many as fit into the limit; if none does, the first one counts."""
        self.progress.stage(self.label, "first run")
        first = follow(self.compiled, self._point, 1 if self.plan.trace else None, self.time_limit_s)
        self.points, solution, took = first.seen, first.solution, first.seconds
        limit = math.inf if self.time_limit_s is None else self.time_limit_s
        seconds: list[float] = []
        while len(seconds) < self.plan.repeats and sum(seconds) + took <= limit:
            solution, took = self.run(f"run {len(seconds) + 1}/{self.plan.repeats}")
            seconds.append(took)
        self.run_s = Times.of(seconds or [took])
        return solution

    def way(self, solution: Solution[Any], reference: Any) -> tuple[dict[str, np.ndarray], Frames | None]:
        """The way that the first run went; there are no frames."""
        return _trace(self.points), None

    def _point(self, piece: Slice) -> TracePoint:
        self.show(piece)
        progress = gathered(piece.progress)
        residual, frontier = np.asarray(progress.residual), np.asarray(progress.frontier)
        return TracePoint(int(progress.num_steps), piece.seconds, float(residual.max()), int(frontier.min()))


def _trace(points: Sequence[TracePoint]) -> dict[str, np.ndarray]:
    """The points as arrays, of many those that are evenly spaced on a logarithmic axis of steps."""
    chosen = np.unique(np.geomspace(1, len(points), _POINTS).round().astype(int)) - 1
    columns = zip(TracePoint._fields, zip(*points, strict=True), strict=True)
    return {name: np.asarray(values)[chosen] for name, values in columns}


def reason_to_skip(config: OrderOneConfig, system: Any, entry: SolverEntry) -> str | None:
    """Why a solver is not run on a system; None where it is. What it holds at once is about what it says itself."""
    reason = too_long(system, entry, config.sequential_max_length) or refusal(entry, system)
    if reason is not None:
        return reason
    guess = system.initial_guess()
    floats = entry.solver.floats_per_equation(ravel(guess).shape[-1]) or 0  # it does not say: a few states
    needed = float(_FLOAT_BYTES * system.num_equations * batch_size(guess) * floats)
    if needed > config.memory_limit_mib * 2**20:
        return f"it may hold up to {format_bytes(needed)}, more than memory_limit_mib, {config.memory_limit_mib:g}"
    return None


_exponents = jax.jit(largest_lyapunov_exponent, static_argnames="burn_in")


def measure_order_one(
    system: Any, entries: Mapping[str, SolverEntry], config: OrderOneConfig, console: Console
) -> OrderOneResult:
    """Solve with every entry that is within the limits: the baseline first, as errors are against it."""
    comparison = compare_solvers(
        system,
        entries,
        repeats=config.repeats,
        time_limit_s=config.time_limit_s,
        trace=config.trace,
        console=console,
        skip=partial(reason_to_skip, config),
        references=(BASELINE,),
        job=SteppedJob,
    )
    exponents = gathered(_exponents(system, comparison.reference, burn_in=min(_BURN_IN, system.num_equations // 10)))
    features = ravel(system.initial_guess()).shape[-1]
    return OrderOneResult(comparison, np.asarray(exponents, float).tolist(), features)
