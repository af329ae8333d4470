"""What an experiment on a DenseNet leaves behind and prints: results.json, curves, pictures and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from common.files import replaced_folder
from runners.cli.publish import SCHEMA, write_json
from runners.densenet.figures import PUBLISHED, by_step_figure, by_time_figure, predictions_figure
from runners.densenet.findings import Findings
from runners.densenet.layers import SEQUENTIAL
from runners.densenet.weights import describe_weights, resolved_config
from runners.experiment import RunContext
from runners.measure.table import comparison_table
from runners.report.console import output_console
from runners.report.environment import describe_environment
from runners.report.units import format_seconds

_EXIT_HEADS = (
    "solver",
    "stop after",
    "mean steps",
    "in full",
    "measured",
    "modelled",
    "top-1 differs",
    "top-5 differs",
)
_IN_ORDER = (
    "Early exit with blocks in order (segmented): later blocks hold their first guess for long, and answers may stand "
    "still before anything is known."
)
_TIME_HEADS = ("solver", "top-5 settled", "measured", "modelled", "until done: measured", "modelled")


def write_densenet_report(context: RunContext, findings: Findings) -> None:
    """Write everything to ``context.out``, which keeps its old content until all of the new is there."""
    record = _record(context, findings)
    arrays: dict[str, Any] = {
        f"{label}/{name}": array.astype(np.float32) if array.dtype == np.float64 else array
        for label, curves in findings.curves.items()
        for name, array in curves.items()
    }
    arrays |= {"exact_logits": findings.exact, "layer_s": np.array(record["critical_path"]["layer_s"], np.float32)}
    title = _title(context, findings)
    with replaced_folder(context.out) as folder:
        write_json(folder / "results.json", record)
        np.savez_compressed(folder / "curves.npz", **arrays)
        by_step_figure(folder / "convergence_by_step.png", findings.curves, record, title)
        predictions_figure(folder / "predictions_by_step.png", findings.curves, record, title)
        by_time_figure(folder / "by_time.png", findings.curves, record, title)


def print_densenet_report(context: RunContext, findings: Findings) -> None:
    """Print the tables of solvers, of early exits and of times, and the sentences, to standard output."""
    comparison_table(findings.comparison, _title(context, findings)).print(output_console())
    console = Console()
    if not console.is_terminal:
        console = Console(width=170)
    lines = [_exit_cells(label, exit) for label in _parallel(findings) for exit in findings.early_exits(label)]
    _print_rows(
        console, "early exit: the five largest logits, in order, as they were k steps before", _EXIT_HEADS, lines
    )
    if any(findings.row(label).entry.name == "segmented" for label in _parallel(findings)):
        console.print(_IN_ORDER, highlight=False, soft_wrap=True)
    lines = [_time_cells(findings.times(label)) for label in findings.followed]
    _print_rows(console, "measured and modelled times of one batch", _TIME_HEADS, lines)
    for sentence in sentences(findings):
        console.print(sentence, highlight=False, soft_wrap=True)
    context.console.print(f"results in {context.out}", highlight=False, soft_wrap=True)


def sentences(findings: Findings) -> list[str]:
    """What came out."""
    path, comparison, count = findings.path, findings.comparison, len(findings.exact)
    said = [
        f"Measured: a sequential pass takes {format_seconds(findings.sequential_s.median)}, one sweep "
        f"{format_seconds(comparison.sweep_s.median)}, the logits from a state "
        f"{format_seconds(findings.readout_s.median)} (batch {comparison.batch_size}).",
        f"Modelled, not measured: a parallel step takes as long as the slowest of the {len(path.layers)} layers by "
        f"itself, {format_seconds(path.slowest_s)}, and a sequential pass the sum over layers, "
        f"{format_seconds(path.sequential_s)}.",
    ]
    for label in _parallel(findings):
        steps = findings.settled(label)
        said.append(
            f"{label}, {count} images: the five largest logits settle after {steps['top5']['median']:g} steps at the "
            f"median ({steps['top5']['max']:g} at most), all logits after {steps['logits']['median']:g} "
            f"({steps['logits']['max']:g}), of {comparison.num_equations} layers; the last error of a logit is "
            f"{findings.final_error(label):.1e}."
        )
    if comparison.num_equations == PUBLISHED["layers"]:
        weights = describe_weights(findings.config, findings.checkpoint)
        here = " (trained weights; the weights here are random)" if weights.startswith("random") else ""
        said.append(
            f"Published{here}: the five smallest logits settle after about {PUBLISHED['settled']} of "
            f"{PUBLISHED['layers']}."
        )
    if findings.accuracy is not None:
        said.append(f"Accuracy of the exact output: {findings.accuracy:.1%} of {count} {findings.pictures.source}.")
    return said


def _record(context: RunContext, findings: Findings) -> dict[str, Any]:
    comparison, path = findings.comparison, findings.path
    return {
        "schema": SCHEMA,
        "name": context.name,
        "runner": context.runner,
        "config": resolved_config(findings.config, findings.checkpoint),
        "seed": findings.config.seed,
        **describe_environment(),
        "weights": describe_weights(findings.config, findings.checkpoint),
        "images": {"source": findings.pictures.source, "num_images": len(findings.exact)},
        "accuracy": findings.accuracy,
        "system": {
            "name": findings.checkpoint.name,
            **comparison.system_record,
            "sequential_pass_s": dataclasses.asdict(findings.sequential_s),
            "readout_s": dataclasses.asdict(findings.readout_s),
        },
        "error_reference": comparison.reference_label,
        "fastest": comparison.fastest,
        "rows": [comparison.record(row) | _on_all_images(findings, row.label) for row in comparison.rows],
        "by_sweep": {label: findings.by_sweep(label) for label in findings.followed},
        "early_exit": {label: findings.early_exits(label) for label in _parallel(findings)},
        "critical_path": {
            "kind": "a model, not a measurement: sequential steps x the slowest layer; the layers are measured",
            "layer_s": [layer.median for layer in path.layers],
            "slowest_s": path.slowest_s,
            "sequential_s": path.sequential_s,
            "rows": [findings.times(label) for label in findings.followed],
        },
        "findings": sentences(findings),
    }


def _on_all_images(findings: Findings, label: str) -> dict[str, Any]:
    """What a row has of all images; null where the solver was not followed."""
    if label not in findings.followed:
        return {"on_all_images": None}
    curves = findings.curves[label]
    return {
        "on_all_images": {
            "status": findings.followed[label].outcome.label,
            "max_logit_error": findings.final_error(label),
            "same_top5": float(curves["top5"][-1].mean()),
            "settled": findings.settled(label),
        }
    }


def _parallel(findings: Findings) -> list[str]:
    """The solvers that do not take the layers one after the other."""
    return [label for label in findings.followed if findings.row(label).entry.inner_name not in SEQUENTIAL]


def _title(context: RunContext, findings: Findings) -> str:
    weights = describe_weights(findings.config, findings.checkpoint).partition(";")[0]
    layers, count = findings.comparison.num_equations, len(findings.exact)
    return f"{context.name}: {findings.checkpoint.name}, {layers} dense layers, {weights}, {count} images"


def _print_rows(console: Console, title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for i, name in enumerate(heads):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console.print(table)


def _exit_cells(label: str, found: dict[str, Any]) -> list[str]:
    return [
        label,
        f"k = {found['k']}",
        f"{found['mean_steps']:.1f}",
        f"{found['mean_steps_in_full']:.1f}",
        format_seconds(found["measured_s"]),
        format_seconds(found["modelled_s"]),
        f"{found['top1_differs']:.1%}",
        f"{found['top5_differs']:.1%}",
    ]


def _time_cells(found: dict[str, Any]) -> list[str]:
    return [
        found["label"],
        f"{found['top5_settled_steps']:g} steps",
        format_seconds(found["measured_top5_settled_s"]),
        format_seconds(found["modelled_top5_settled_s"]),
        format_seconds(found["measured_s"]),
        format_seconds(found["modelled_s"]),
    ]
