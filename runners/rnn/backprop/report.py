"""What an experiment on backpropagation leaves behind and prints: results.json, traces, pictures and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from common.files import replaced_folder
from runners.cli.publish import SCHEMA, write_json
from runners.experiment import RunContext
from runners.measure.table import comparison_table
from runners.plotting.convergence import by_label
from runners.report.console import output_console
from runners.report.environment import describe_environment
from runners.report.units import format_seconds
from runners.rnn.backprop.config import BackpropConfig
from runners.rnn.backprop.figures import gradient_error_figure, loss_figure
from runners.rnn.backprop.summary import Phase, TrainingTable, findings
from runners.rnn.backprop.training import SolverTraining

_TRAINING_COLUMNS = (
    "method",
    "steps",
    "backward",
    "against jax.grad",
    "training step",
    "training",
    "final loss",
    "steps to loss",
    "time to loss",
    "vs reference",
    "compile",
)


@dataclass(frozen=True)
class Report:
    """All that was found out."""

    config: BackpropConfig
    num_inputs: int
    phases: Mapping[str, Phase]  # "start" and "end"
    trainings: Sequence[SolverTraining]
    reference: SolverTraining
    skipped: Sequence[Mapping[str, str]]

    @property
    def table(self) -> TrainingTable:
        """The trainings, compared."""
        return TrainingTable(self.trainings, self.reference, self.config.smoothing)

    @property
    def findings(self) -> list[str]:
        """What came out, in sentences."""
        return findings(list(self.phases.values()), self.trainings, self.reference)


def write_backprop_report(context: RunContext, report: Report) -> None:
    """Write everything to ``context.out``, which keeps its old content until all of the new is there."""
    record = _record(context, report)
    traces = _traces(report)
    title = f"{context.name}: {_subject(report)}"
    with replaced_folder(context.out) as folder:
        write_json(folder / "results.json", record)
        np.savez_compressed(folder / "traces.npz", **traces)  # type: ignore[arg-type]
        for name, phase in report.phases.items():
            chosen = by_label(
                {key.removeprefix(f"{name}/"): a for key, a in traces.items() if key.startswith(f"{name}/")}
            )
            rows = [row for row in record["rows"] if row["phase"] == name]
            where = folder / f"convergence_{name}.png"
            gradient_error_figure(where, chosen, rows, report.config.num_equations, f"{title}, {phase.when}")
        training, prefix = record["training"]["rows"], "training/"
        chosen = by_label({key.removeprefix(prefix): a for key, a in traces.items() if key.startswith(prefix)})
        loss_figure(folder / "loss_by_time.png", chosen, training, "seconds", title)
        loss_figure(folder / "loss_by_steps.png", chosen, training, "num_steps", title)


def print_report(context: RunContext, report: Report) -> None:
    """Print the tables of solvers and of methods, and the sentences, to standard output."""
    for phase in report.phases.values():
        comparison_table(phase.comparison, f"{context.name}: gradients {phase.when}, {_subject(report)}").print(
            output_console()
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=170)
    config, reference = report.config, report.reference.label
    title = f"{context.name}: {config.train_steps} training steps of one sequence, {config.repeats} repeats"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for name in _TRAINING_COLUMNS:
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for training in report.trainings:
        table.add_row(*_cells(report.table.record(training)))
    console.print(table)
    console.print(
        "steps: sequential steps of a backward pass; backward: its time alone; against jax.grad: relative deviation of "
        "the first gradient;\nfinal loss: smoothed; to loss: until the smoothed loss is within 1% of the last one of "
        f"{reference}, in steps of all backward passes so far\nand in time; vs reference: its time over that.",
        highlight=False,
    )
    for entry in report.skipped:
        console.print(
            f"{entry['list']}: {entry['label']} was left out: {entry['reason']}", highlight=False, soft_wrap=True
        )
    for sentence in report.findings:
        console.print(sentence, highlight=False, soft_wrap=True)


def _record(context: RunContext, report: Report) -> dict[str, Any]:
    config, table, start = report.config, report.table, report.phases["start"].comparison
    plain = config.model_dump(exclude={"solvers", "methods"})
    return {
        "schema": SCHEMA,
        "name": context.name,
        "runner": context.runner,
        "config": {
            **plain,
            "solvers": [entry.record for entry in config.solvers],
            "methods": [entry.record for entry in config.methods],
            "model": dataclasses.asdict(config.architecture(report.num_inputs)),
        },
        "seed": config.seed,
        **describe_environment(),
        "system": {
            "name": "rnn backward",
            "num_equations": start.num_equations,
            "batch_size": start.batch_size,
            "sweep_s": dataclasses.asdict(start.sweep_s),
            "sweep_flops": start.sweep_flops,
        },
        "error_reference": start.reference_label,
        "fastest": start.best.label if start.best else None,
        "rows": [
            {"phase": name, **phase.record(row)}
            for name, phase in report.phases.items()
            for row in phase.comparison.rows
        ],
        "training": {
            "reference": report.reference.label,
            "target_loss": table.target,
            "rows": [table.record(training) for training in report.trainings],
        },
        "skipped": list(report.skipped),
        "findings": report.findings,
    }


def _traces(report: Report) -> dict[str, np.ndarray]:
    """The arrays of traces.npz, named phase/label/name."""
    traces = {
        f"{name}/{label}/{key}": array
        for name, phase in report.phases.items()
        for label, errors in phase.errors.items()
        for key, array in errors.arrays().items()
    }
    for training in report.trainings:
        arrays = {
            "loss": np.array(training.losses, np.float32),
            "smoothed": training.smoothed(report.config.smoothing).astype(np.float32),
            "seconds": np.array(training.seconds, np.float32),
            "num_steps": np.array(training.num_steps, np.int32),
        }
        traces |= {f"training/{training.label}/{key}": array for key, array in arrays.items()}
    return traces


def _subject(report: Report) -> str:
    config = report.config
    return f"{config.cell}, {config.hidden_size} hidden units, T = {config.num_equations}"


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
