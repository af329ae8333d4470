"""One cell at one length and one state size under a list of solvers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.console import Console

from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import ForwardRNN
from runners.config.solvers import SolverEntry
from runners.measure.comparison import Comparison, compare_solvers
from runners.measure.job import Row
from runners.rnn.forward.config import BASELINE
from runners.rnn.forward.job import SteppedJob
from runners.rnn.forward.limits import Limits
from solvers import Status
from solvers.linear.linearize import ravel
from solvers.lyapunov import advice, largest_lyapunov_exponent, pays

_BURN_IN = 100  # steps in which a deviation finds the direction that grows fastest; a tenth of shorter sequences


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
    """What came of it."""

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
        rows = [row for row in self.comparison.rows if row.status is not Status.CONVERGED]
        return rows if pays(self.exponent) else []

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


_exponents = jax.jit(largest_lyapunov_exponent, static_argnames="burn_in")


def run_experiment(
    experiment: Experiment,
    solvers: Mapping[str, SolverEntry],
    *,
    seed: int,
    repeats: int,
    trace: bool,
    limits: Limits,
    console: Console,
) -> ForwardResult:
    """Solve with every solver (by label) that is within the limits: the baseline first, as errors are against it."""
    system = experiment.system(seed)
    comparison = compare_solvers(
        system,
        solvers,
        repeats=repeats,
        time_limit_s=limits.time_s,
        trace=trace,
        console=console,
        skip=limits.skip,
        references=(BASELINE,),
        job=SteppedJob,
    )
    exponents = _exponents(system, comparison.reference, burn_in=min(_BURN_IN, system.num_equations // 10))
    return ForwardResult(
        experiment=experiment,
        comparison=comparison,
        exponents=[float(exponent) for exponent in np.asarray(exponents)],
        features=ravel(system.initial_guess()).shape[-1],
    )
