"""An experiment on backpropagation as a report: gradients before and after training, and the trainings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from models.rnn.model import RNNConfig
from runners.measure.skip import Skipped
from runners.measure.table import comparison_table
from runners.plotting.convergence import Rows, Traces
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Column, ResultTable
from runners.report.units import format_seconds
from runners.rnn.backprop.config import BackpropConfig
from runners.rnn.backprop.figures import gradient_error_figure, loss_figure
from runners.rnn.backprop.summary import Phase, TrainingTable, findings
from solvers import Status

DISAGREES = 1e-3  # relative error with which a converged gradient contradicts the reference

# The numbers say which column makes room first where the console is narrow.
_TRAINING_COLUMNS = (
    Column("method", align="left"),
    Column("steps"),
    Column("backward"),
    Column("against jax.grad", drop=2),
    Column("training step", drop=3),
    Column("training", drop=4),
    Column("final loss"),
    Column("steps to loss", drop=5),
    Column("time to loss", drop=6),
    Column("vs reference"),
    Column("compile", drop=1),
)


@dataclass(frozen=True)
class BackpropFindings:
    """All that was found out."""

    config: BackpropConfig
    model: RNNConfig
    phases: Mapping[str, Phase]  # gradients at the "start", before training, and at the "end"
    table: TrainingTable
    skipped: Mapping[str, Sequence[Skipped]]  # by the list of the config: solvers, methods


def backprop_report(name: str, found: BackpropFindings) -> Report:
    """Say what was found in the run called ``name``."""
    config = found.config
    subject = f"{config.cell}, {config.hidden_size} hidden units, T = {config.num_equations}"
    rows: dict[str, Rows] = {
        part: [phase.record(row) for row in phase.comparison.rows] for part, phase in found.phases.items()
    }
    rows["training"] = [found.table.record(training) for training in found.table.trainings]
    traces: dict[str, Traces] = {
        part: {label: errors.arrays() for label, errors in phase.errors.items()} for part, phase in found.phases.items()
    }
    traces["training"] = {each.label: each.arrays(config.smoothing) for each in found.table.trainings}
    said = findings(list(found.phases.values()), found.table)
    left_out = [(key, each) for key, skipped in found.skipped.items() for each in skipped]
    return Report(
        kind="backprop",
        title=f"{name}: {subject}",
        config={**config.model_dump(), "model": dataclasses.asdict(found.model)},
        record={
            **_record(found, rows),
            "skipped": [{"list": key, **skipped.record} for key, skipped in left_out],
            "findings": said,
        },
        arrays={"traces.npz": _flat(traces)},
        artifacts=_pictures(f"{name}: {subject}", found, traces, rows),
        tables=[
            *(
                comparison_table(phase.comparison, f"{name}: gradients {phase.when}, {subject}")
                for phase in found.phases.values()
            ),
            _training_table(name, found, rows["training"]),
        ],
        sentences=[*(f"{key}: {skipped.sentence}" for key, skipped in left_out), *said],
        failure=_failure(found),
    )


def _record(found: BackpropFindings, rows: Mapping[str, Rows]) -> dict[str, Any]:
    start = found.phases["start"].comparison
    return {
        "system": {"name": "rnn backward", **start.system_record},
        "error_reference": start.reference_label,
        "fastest": start.fastest,
        "rows": [{"phase": phase, **row} for phase in found.phases for row in rows[phase]],
        "training": {
            "reference": found.table.reference.label,
            "target_loss": found.table.target,
            "rows": rows["training"],
        },
    }


def _flat(traces: Mapping[str, Traces]) -> dict[str, np.ndarray]:
    """The arrays of traces.npz, named part/label/name."""
    return {
        f"{part}/{label}/{name}": array
        for part, by_label in traces.items()
        for label, arrays in by_label.items()
        for name, array in arrays.items()
    }


def _pictures(
    title: str, found: BackpropFindings, traces: Mapping[str, Traces], rows: Mapping[str, Rows]
) -> list[Picture]:
    length = found.config.num_equations
    of_gradients = [
        Picture(
            f"convergence_{part}.png",
            partial(gradient_error_figure, traces[part], rows[part], length, f"{title}, {phase.when}"),
        )
        for part, phase in found.phases.items()
    ]
    draw = partial(loss_figure, traces["training"], rows["training"], title=title)
    return [
        *of_gradients,
        Picture("loss_by_time.png", partial(draw, "seconds")),
        Picture("loss_by_steps.png", partial(draw, "num_steps")),
    ]


def _training_table(name: str, found: BackpropFindings, rows: Rows) -> ResultTable:
    config = found.config
    return ResultTable(
        title=f"{name}: {config.train_steps} training steps of one sequence, {config.trainings} trainings",
        columns=_TRAINING_COLUMNS,
        rows=[_cells(row) for row in rows],
        note=(
            "steps: sequential steps of a backward pass; backward: its time alone; against jax.grad: relative "
            "deviation of the first gradient; final loss: smoothed; to loss: until the smoothed loss is within 1% of "
            f"the last one of {found.table.reference.label}, in steps of all backward passes so far and in time; vs "
            "reference: its time over that."
        ),
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    reached, speedup = row["to_target"], row["speedup"]["seconds"]
    return [
        row["label"],
        f"{row['num_steps']:.1f}",
        format_seconds(row["backward_s"]["median"]),
        f"{row['gradient_deviation']:.1e}",
        format_seconds(row["step_s"]["median"]),
        format_seconds(row["train_s"]),
        f"{row['final_loss']['mean']:.4f} +- {row['final_loss']['std']:.4f}",
        f"{reached['num_steps']:,.0f}" if reached else "-",
        format_seconds(reached["seconds"]) if reached else "-",
        "-" if speedup is None else f"{speedup:.2f}x",
        format_seconds(row["compile_s"]),
    ]


def _failure(found: BackpropFindings) -> str | None:
    """The first gradient that converged and contradicts the reference, or jax.grad."""
    for phase in found.phases.values():
        for row in phase.comparison.rows:
            wrong = phase.relative_error(row) > DISAGREES and row.entry.solver.tol <= DISAGREES
            if row.status is Status.CONVERGED and wrong:
                return (
                    f"{row.label}, {phase.when}: the solver converged, but its gradient is off by "
                    f"{phase.relative_error(row):.1e} of the reference's largest value"
                )
    for training in found.table.trainings:
        exact = training.converged[0][0] and training.entry.solver.tol <= DISAGREES
        if exact and training.gradient_deviation > DISAGREES:
            return (
                f"{training.label}: the backward pass converged, but the gradient differs from jax.grad's by "
                f"{training.gradient_deviation:.1e} of its largest value"
            )
    return None
