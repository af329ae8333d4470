"""Trainings of a classifier as a report: what each solver's cost, and how far its losses are from the first one's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Cells, Column, ResultTable
from runners.report.units import format_seconds
from runners.rnn.classifier.config import RNNClassifierConfig
from runners.rnn.classifier.figures import classifier_figure
from runners.rnn.classifier.training import ClassifierTraining

# The numbers say which column makes room first where the console is narrow.
_CELLS: Cells = (
    (Column("solver", align="left"), lambda row: row["label"]),
    (Column("held-out accuracy"), lambda row: f"{row['held_out_accuracy'][-1]:.1%}"),
    (Column("last loss", drop=2), lambda row: f"{row['final_loss']:.4f}"),
    (Column("loss apart by", drop=3), lambda row: f"{row['max_loss_difference']:.1e}"),
    (Column("steps"), lambda row: f"{row['solver_steps']:.1f}"),
    (Column("training step"), lambda row: format_seconds(row["step_s"]["median"])),
    (Column("compile", drop=1), lambda row: format_seconds(row["compile_s"])),
)


def classifier_report(
    name: str,
    config: RNNClassifierConfig,
    num_equations: int,
    trainings: Sequence[ClassifierTraining],
    failure: str | None,
) -> Report:
    """Say what the trainings of the run called ``name`` were; there is one or more, and ``failure`` tells of others."""
    first = trainings[0]
    rows = [_record(training, first) for training in trainings]
    losses: dict[str, Float[np.ndarray, " S"]] = {training.label: training.losses for training in trainings}
    title = f"{name}: {config.cell}, {config.hidden_size} hidden units, {config.data.name}"
    system = {"name": f"forward {config.cell}", "num_equations": num_equations, "batch_size": config.batch_size}
    return Report(
        kind="rnn_classifier",
        title=title,
        config=config.model_dump(),
        record={"system": system, "rows": rows},
        arrays={"losses.npz": losses},
        artifacts=[Picture("training.png", partial(classifier_figure, rows, losses, title))],
        tables=[
            ResultTable.of(
                f"{name}: {config.cell} by rows, T = {num_equations}, batch {config.batch_size}",
                _CELLS,
                rows,
                note=(
                    f"loss apart by: the largest difference from {first.label}'s at the same step; steps: "
                    "sequential network evaluations of a forward pass."
                ),
            )
        ],
        failure=failure,
    )


def _record(training: ClassifierTraining, first: ClassifierTraining) -> dict[str, Any]:
    """A training as results.json holds it."""
    return {
        **training.entry.named(training.label),
        "compile_s": training.compile_s,
        "step_s": dataclasses.asdict(training.step_s),
        "solver_steps": training.solver_steps,
        "held_out_accuracy": training.accuracy,
        "final_loss": float(training.losses[-1]),
        "max_loss_difference": float(np.max(np.abs(training.losses - first.losses))),
    }
