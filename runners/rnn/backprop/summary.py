"""What an experiment on backpropagation says, in numbers and in sentences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from runners.measure.chain import chain_of
from runners.measure.comparison import REFERENCES, Comparison
from runners.measure.job import Row
from runners.measure.timing import Times
from runners.report.published import BACKPROP_LENGTH, BACKPROP_SWEEPS
from runners.report.units import format_seconds
from runners.rnn.backprop.gradients import TOLERANCE, GradientErrors
from runners.rnn.backprop.training import SolverTraining
from solvers import MarkovSystem
from solvers.linear.prefix_scan import chain_length

NEAR = 1.01  # a loss is reached within a hundredth


@dataclass(frozen=True)
class Phase:
    """All solvers on the gradients of one state of the weights."""

    when: str
    comparison: Comparison
    errors: dict[str, GradientErrors]  # of the rows that were traced

    def relative_error(self, row: Row) -> float:
        """The error at the end, of the worst sequence where that is known."""
        if row.label in self.errors:
            return float(self.errors[row.label].error[-1].max())
        if not row.max_abs_error:
            return 0.0
        largest = float(np.max(np.abs(np.asarray(self.comparison.reference))))
        return row.max_abs_error / largest if largest else math.inf

    def record(self, row: Row) -> dict[str, Any]:
        """A row as results.json holds it."""
        errors = self.errors.get(row.label)
        gradient = errors and {
            "tolerance": TOLERANCE,
            "steps_to_tolerance": _spread(errors.steps_to(TOLERANCE)),
            "steps_to_exact": _spread(errors.steps_to(0.0)),
        }
        return {**self.comparison.record(row), "relative_error": self.relative_error(row), "gradient": gradient}


@dataclass(frozen=True)
class TrainingTable:
    """All trainings beside the reference's: a sequential method, cached if there is one, else the first.

    There is none where a run was interrupted before it trained; then there is no reference either.
    """

    trainings: Sequence[SolverTraining]
    smoothing: float

    @property
    def reference(self) -> SolverTraining:
        """The training that the others are compared with."""
        by_name = {training.entry.name: training for training in reversed(self.trainings)}
        return by_name.get("cached_sequential") or by_name.get("sequential") or self.trainings[0]

    @cached_property
    def target(self) -> float:
        """The smoothed loss that the reference ends with, mean over the trainings with it."""
        return float(self._mean_loss(self.reference)[-1])

    def record(self, training: SolverTraining) -> dict[str, Any]:
        """A training as results.json holds it."""
        final = training.smoothed(self.smoothing)[:, -1]
        reached, base = self._to_target(training), self._to_target(self.reference)
        return {
            **training.entry.named(training.label),
            "gradient_deviation": training.gradient_deviation,
            "converged": float(np.mean(training.converged)),
            "num_steps": float(np.mean(training.num_steps)),
            "compile_s": training.compile_s,
            "backward_s": dataclasses.asdict(training.backward_s),
            "step_s": dataclasses.asdict(Times.of(np.ravel(training.seconds).tolist())),
            "train_s": float(_elapsed(training.seconds)[-1]),
            "final_loss": {"mean": float(final.mean()), "std": float(final.std())},
            "to_target": reached,
            "speedup": {key: base and reached and base[key] / reached[key] for key in ("seconds", "num_steps")},
        }

    def _mean_loss(self, training: SolverTraining) -> Float[np.ndarray, " S"]:
        return training.smoothed(self.smoothing).mean(axis=0)

    def _to_target(self, training: SolverTraining) -> dict[str, float] | None:
        """How much training it takes to come near the target; None: it does not."""
        below = np.flatnonzero(self._mean_loss(training) <= NEAR * self.target)
        if not len(below):
            return None
        first = int(below[0])
        return {
            "train_steps": first + 1,
            "seconds": float(_elapsed(training.seconds)[first]),
            "num_steps": float(_elapsed(training.num_steps)[first]),
        }


def findings(phases: Sequence[Phase], table: TrainingTable) -> list[str]:
    """What came out, in sentences: how many sweeps Jacobi needs, and whether any of it is faster here."""
    trainings = table.trainings
    sentences = []
    for phase in phases:
        traced = [row for row in phase.comparison.rows if row.entry.name == "jacobi" and row.label in phase.errors]
        sentences += [_needs(phase, row, phase.errors[row.label]) for row in traced[:1]]  # others go the same way
    if sentences and phases[0].comparison.num_equations == BACKPROP_LENGTH:
        sentences.append("Published: an error of about zero after {} to {} sweeps.".format(*BACKPROP_SWEEPS))
    parallel = [training for training in trainings if training.entry.name not in REFERENCES]
    if parallel and table.reference.entry.name in REFERENCES:
        best = min(parallel, key=lambda training: training.backward_s.median)
        sentences.append(_pays(best, table.reference, phases[0].comparison.num_equations))
    return sentences + _chains(phases, trainings)


def _needs(phase: Phase, row: Row, errors: GradientErrors) -> str:
    steps = _spread(errors.steps_to(TOLERANCE))
    if steps["mean"] is None:
        return f"{row.label}, {phase.when}: a relative gradient error of {TOLERANCE:g} is not reached."
    first, second = BACKPROP_SWEEPS
    exact = _spread(errors.steps_to(0.0))["max"]
    return (
        f"{row.label}, {phase.when}: relative gradient error at most {TOLERANCE:g} after {steps['mean']:.1f} steps "
        f"({steps['min']} to {steps['max']} over {steps['reached']} sequences), where {phase.comparison.num_equations} "
        f"are sequential; {errors.mean_after(first):.1e} after {first}, {errors.mean_after(second):.1e} after {second}"
        + ("." if exact is None else f", the same to the last bit after {exact}.")
    )


def _pays(best: SolverTraining, reference: SolverTraining, num_equations: int) -> str:
    ours, theirs = best.backward_s.median, reference.backward_s.median
    chain = chain_of(best.entry.solver, num_equations).get("chain_length", 1)  # of one step, which is a whole scan
    deep, deep_reference = chain * float(np.mean(best.num_steps)), float(np.mean(reference.num_steps))
    depth = f"{deep:g} sequential steps in place of {deep_reference:g}"
    if ours < theirs:
        return (
            f"{best.label} does a backward pass in less time than {reference.label}, {format_seconds(ours)} against "
            f"{format_seconds(theirs)}, {'and' if deep < deep_reference else 'but'} in {depth}."
        )
    saves = "What it saves is depth" if deep < deep_reference else "It saves no depth either"
    return (
        f"On this device no parallel backward pass is faster than {reference.label}, a compiled loop of "
        f"{format_seconds(theirs)}; the fastest, {best.label}, takes {format_seconds(ours)}. {saves}: {depth}."
    )


def _chains(phases: Sequence[Phase], trainings: Sequence[SolverTraining]) -> list[str]:
    """What a step of solvers that scan is made of: else it would look as though it were one operation."""
    entries = [row.entry for phase in phases for row in phase.comparison.rows] + [each.entry for each in trainings]
    scanning = list(dict.fromkeys(entry.name for entry in entries if MarkovSystem in entry.solver.requires.__mro__))
    if not scanning:
        return []
    chain = chain_length(phases[0].comparison.num_equations)
    return [f"A step of {' or '.join(scanning)} is a prefix scan, in which {chain} products follow one another."]


def _elapsed(per_step: Sequence[np.ndarray]) -> Float[np.ndarray, " S"]:
    """The sum up to each step of the medians over the trainings, which one that is disturbed does not move."""
    return np.cumsum(np.median(np.array(per_step), axis=0))


def _spread(steps: Sequence[int | None]) -> dict[str, Any]:
    """Over the sequences that got there."""
    reached = np.array([value for value in steps if value is not None])
    kinds = ("mean", "std", "min", "max")
    values = {kind: getattr(reached, kind)().item() if len(reached) else None for kind in kinds}
    return {**values, "reached": len(reached)}
