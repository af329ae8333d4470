"""An experiment on backpropagation as a report: gradients before and after training, and the trainings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from models.rnn.model import RNNConfig
from runners.measure.chain import chain_of
from runners.measure.choosing import prediction_sentences, prediction_tables
from runners.measure.comparison import Skipped, comparison_table
from runners.plotting.convergence import to_files
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Cells, Column, ResultTable
from runners.report.units import format_seconds
from runners.rnn.backprop.config import BackpropConfig
from runners.rnn.backprop.figures import gradient_error_figure, loss_figure
from runners.rnn.backprop.summary import Phase, TrainingTable, findings
from solvers import Status

DISAGREES = 1e-3  # relative error with which a converged gradient contradicts the reference

# The numbers say which column makes room first where the console is narrow.
_TRAINING_CELLS: Cells = (
    (Column("method", align="left"), lambda row: row["label"]),
    (Column("steps"), lambda row: f"{row['num_steps']:.1f}"),
    (Column("backward"), lambda row: format_seconds(row["backward_s"]["median"])),
    (Column("against jax.grad", drop=2), lambda row: f"{row['gradient_deviation']:.1e}"),
    (Column("training step", drop=3), lambda row: format_seconds(row["step_s"]["median"])),
    (Column("training", drop=4), lambda row: format_seconds(row["train_s"])),
    (Column("final loss"), lambda row: "{mean:.4f} +- {std:.4f}".format(**row["final_loss"])),
    (Column("steps to loss", drop=5), lambda row: _known(row["to_target"], "num_steps", "{:,.0f}".format)),
    (Column("time to loss", drop=6), lambda row: _known(row["to_target"], "seconds", format_seconds)),
    (Column("vs reference"), lambda row: _known(row["speedup"], "seconds", "{:.2f}x".format)),
    (Column("compile", drop=1), lambda row: format_seconds(row["compile_s"])),
)
_NOTE = (
    "steps: sequential steps of a backward pass; backward: its time alone; against jax.grad: relative deviation of the "
    "first gradient; final loss: smoothed; to loss: until the smoothed loss is within 1% of the last one of {}, in "
    "steps of all backward passes so far and in time; vs reference: its time over that."
)


def backprop_report(
    name: str,
    config: BackpropConfig,
    model: RNNConfig,
    phases: Mapping[str, Phase],
    table: TrainingTable,
    skipped: Mapping[str, Sequence[Skipped]],
) -> Report:
    """Say what was found in the run called ``name``.

    ``phases`` are the gradients at the "start", before training, and at the "end"; ``skipped`` is by the list of the
    config: solvers, methods. A run that was interrupted has but what was done.
    """
    subject = f"{config.cell}, {config.hidden_size} hidden units, T = {config.num_equations}"
    title, start = f"{name}: {subject}", phases["start"].comparison
    rows = {part: [phase.record(row) for row in phase.comparison.rows] for part, phase in phases.items()}
    trained = [
        table.record(training) | chain_of(training.entry.solver, config.num_equations) for training in table.trainings
    ]
    errors = {
        part: {label: dataclasses.asdict(each) for label, each in phase.errors.items()}
        for part, phase in phases.items()
    }
    losses = {training.label: training.arrays(config.smoothing) for training in table.trainings}
    traces = {f"{part}/{label}": each for part, found in errors.items() for label, each in found.items()}
    traces |= {f"training/{label}": each for label, each in losses.items()}

    def error_picture(part: str) -> Picture:
        words = f"{title}, {phases[part].when}"
        draw = partial(gradient_error_figure, errors[part], rows[part], words, config.num_equations)
        return Picture(f"convergence_{part}.png", draw)

    loss_pictures = [
        Picture("loss_by_time.png", partial(loss_figure, losses, trained, title, "seconds")),
        Picture("loss_by_steps.png", partial(loss_figure, losses, trained, title, "num_steps")),
    ]
    said = findings(list(phases.values()), table)
    left_out = [(key, each) for key, those in skipped.items() for each in those]
    return Report(
        kind="backprop",
        title=title,
        config={**config.model_dump(), "model": dataclasses.asdict(model)},
        record={
            "system": {"name": "rnn backward", **start.system_record},
            "error_reference": start.reference_label,
            "fastest": start.fastest,
            "rows": [{"phase": part, **row} for part in phases for row in rows[part]],
            "training": _training(table, trained) if trained else None,
            "skipped": [{"list": key, **each.record} for key, each in left_out],
            "findings": said,
        },
        arrays={"traces.npz": to_files(traces)},
        artifacts=[
            *map(error_picture, phases),
            *(loss_pictures if trained else []),
        ],
        tables=[
            *(
                comparison_table(phase.comparison, f"{name}: gradients {phase.when}, {subject}")
                for phase in phases.values()
            ),
            *(table for phase in phases.values() for table in prediction_tables(phase.comparison.rows)),
            *([_training_table(name, config, table.reference.label, trained)] if trained else []),
        ],
        sentences=[
            *(f"{key}: {each.sentence}" for key, each in left_out),
            *said,
            *prediction_sentences(phases["start"].comparison.rows),
        ],
        failure=_failure(phases, table),
    )


def _training(table: TrainingTable, trained: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The trainings as results.json holds them."""
    return {"reference": table.reference.label, "target_loss": table.target, "rows": trained}


def _training_table(
    name: str, config: BackpropConfig, reference: str, trained: Sequence[Mapping[str, Any]]
) -> ResultTable:
    """The trainings, beside the one that they are held against."""
    title = f"{name}: {config.train_steps} training steps of one sequence, {config.trainings} trainings"
    return ResultTable.of(title, _TRAINING_CELLS, trained, note=_NOTE.format(reference))


def _known(values: Mapping[str, float | None] | None, key: str, say: Callable[[float], str]) -> str:
    """One of some values in words, a dash where it is not known."""
    value = (values or {}).get(key)
    return "-" if value is None else say(value)


def _failure(phases: Mapping[str, Phase], table: TrainingTable) -> str | None:
    """Solvers that were not measured, or the first gradient that contradicts the reference, or jax.grad."""
    for phase in phases.values():
        if phase.comparison.failure:
            return f"{phase.when}: {phase.comparison.failure}"
        for row in phase.comparison.rows:
            error = phase.relative_error(row)
            if row.status is Status.CONVERGED and error > DISAGREES and row.entry.solver.tol <= DISAGREES:
                return (
                    f"{row.label}, {phase.when}: the solver converged, but its gradient is off by {error:.1e} of the "
                    "reference's largest value"
                )
    for training in table.trainings:
        exact = training.converged[0][0] and training.entry.solver.tol <= DISAGREES
        if exact and training.gradient_deviation > DISAGREES:
            return (
                f"{training.label}: the backward pass converged, but the gradient differs from jax.grad's by "
                f"{training.gradient_deviation:.1e} of its largest value"
            )
    return None
