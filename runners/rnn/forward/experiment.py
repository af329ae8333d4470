"""One cell at one length and one state size under a list of solvers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from rich.console import Console

from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import ForwardRNN
from runners.config.solvers import SolverEntry, refusal
from runners.measure.comparison import Comparison, compare_solvers, too_long
from runners.measure.job import Frames, Job, Row
from runners.measure.timing import Slice, Times, follow
from runners.report.units import format_bytes
from runners.rnn.forward.config import BASELINE, ForwardRNNConfig
from solvers import Solution
from solvers.equations import batch_size
from solvers.linear.linearize import ravel
from solvers.lyapunov import advice, largest_lyapunov_exponent, pays

_BURN_IN = 100  # steps in which a deviation finds the direction that grows fastest; a tenth of shorter sequences
_FLOAT_BYTES = 4
_POINTS = 400  # how long a trace is, at the most


@dataclass(frozen=True)
class Experiment:
    """What is solved: a cell with random weights on random inputs."""

    cell: str  # the config's name for it
    network: RNNConfig
    num_equations: int
    batch_size: int
    input_scale: float

    @property
    def title(self) -> str:
        """For tables and messages."""
        return f"{self.cell}, T = {self.num_equations:,}, state size {self.network.hidden_size}"

    @property
    def key(self) -> str:
        """What the names of its arrays in traces.npz begin with."""
        return f"{self.cell}/T{self.num_equations}/H{self.network.hidden_size}"

    def system(self, seed: int) -> ForwardRNN:
        """The equations: weights and normal inputs from the seed."""
        cell = RNN(self.network, rngs=nnx.Rngs(seed)).fold().cell
        shape = (self.num_equations, self.batch_size, self.network.num_inputs)
        inputs = self.input_scale * jax.random.normal(jax.random.fold_in(jax.random.key(seed), 1), shape)
        return ForwardRNN.of(cell, inputs)


@dataclass(frozen=True)
class ForwardResult:
    """All that was measured on one cell at one length and one state size."""

    experiment: Experiment
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
            "cell": self.experiment.cell,
            "network": dataclasses.asdict(self.experiment.network),
            "num_equations": comparison.num_equations,
            "state_size": self.experiment.network.hidden_size,
            "features": self.features,
            "batch_size": comparison.batch_size,
            "lyapunov": self.exponent,
            "lyapunov_by_sample": self.exponents,
            "pays": pays(self.exponent),
            "advice": advice(self.exponent),
            "sweep_s": dataclasses.asdict(comparison.sweep_s),
            "error_reference": comparison.reference_label,
            "fastest": comparison.fastest,
            "rows": [comparison.record(row) for row in comparison.rows],
            "skipped": [skipped.record for skipped in comparison.skipped],
        }

    @property
    def traces(self) -> dict[str, np.ndarray]:
        """As traces.npz holds them."""
        return {
            f"{self.experiment.key}/{row.label}/{name}": array
            for row in self.comparison.rows
            for name, array in (row.trace or {}).items()
        }


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
        progress = piece.progress
        residual, frontier = np.asarray(progress.residual), np.asarray(progress.frontier)
        return TracePoint(int(progress.num_steps), piece.seconds, float(residual.max()), int(frontier.min()))


def _trace(points: Sequence[TracePoint]) -> dict[str, np.ndarray]:
    """The points as arrays, of many those that are evenly spaced on a logarithmic axis of steps."""
    chosen = np.unique(np.geomspace(1, len(points), _POINTS).round().astype(int)) - 1
    columns = zip(TracePoint._fields, zip(*points, strict=True), strict=True)
    return {name: np.asarray(values)[chosen] for name, values in columns}


def reason_to_skip(config: ForwardRNNConfig, system: Any, entry: SolverEntry) -> str | None:
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


def run_experiment(experiment: Experiment, config: ForwardRNNConfig, console: Console) -> ForwardResult:
    """Solve with every solver that is within the limits: the baseline first, as errors are against it."""
    system = experiment.system(config.seed)
    comparison = compare_solvers(
        system,
        config.entries(experiment.cell),
        repeats=config.repeats,
        time_limit_s=config.time_limit_s,
        trace=config.trace,
        console=console,
        skip=partial(reason_to_skip, config),
        references=(BASELINE,),
        job=SteppedJob,
    )
    exponents = _exponents(system, comparison.reference, burn_in=min(_BURN_IN, system.num_equations // 10))
    features = ravel(system.initial_guess()).shape[-1]
    return ForwardResult(experiment, comparison, np.asarray(exponents, float).tolist(), features)
