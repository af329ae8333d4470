"""Findings about a DenseNet as a report: rows, curves, pictures, tables and sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from runners.densenet.answers import quartiles
from runners.densenet.figures import by_step_figure, by_time_figure, predictions_figure
from runners.densenet.findings import Findings, SolverFindings
from runners.measure.choosing import prediction_tables
from runners.measure.comparison import comparison_table
from runners.measure.job import MISMATCH
from runners.plotting.convergence import to_files
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Cells, Column, ResultTable
from runners.report.units import format_seconds
from solvers import Status

# Columns with how they say what a row has. The numbers tell which column makes room first where the console is narrow.
_EXIT_CELLS: Cells = (
    (Column("solver", align="left"), lambda found: found["label"]),
    (Column("k"), lambda found: f"{found['k']}"),
    (Column("mean steps"), lambda found: f"{found['mean_steps']:.1f}"),
    (Column("in full", drop=3), lambda found: f"{found['mean_steps_in_full']:.1f}"),
    (Column("measured", drop=2), lambda found: format_seconds(found["measured_s"])),
    (Column("modelled", drop=1), lambda found: format_seconds(found["modelled_s"])),
    (Column("top-1 differs", drop=4), lambda found: f"{found['top1_differs']:.1%}"),
    (Column("top-5 differs"), lambda found: f"{found['top5_differs']:.1%}"),
)
_TIME_CELLS: Cells = (
    (Column("solver", align="left"), lambda times: times["label"]),
    (Column("top-5 settled"), lambda times: f"{times['top5_settled_steps']:g} steps"),
    (Column("measured"), lambda times: format_seconds(times["measured_top5_settled_s"])),
    (Column("modelled"), lambda times: format_seconds(times["modelled_top5_settled_s"])),
    (Column("until done: measured", drop=2), lambda times: format_seconds(times["measured_s"])),
    (Column("until done: modelled", drop=1), lambda times: format_seconds(times["modelled_s"])),
)
_IN_ORDER = (
    "Early exit with blocks in order (segmented): later blocks hold their first guess for long, and answers may stand "
    "still before anything is known."
)


def densenet_report(name: str, config: Mapping[str, Any], findings: Findings) -> Report:
    """Make the report of an experiment; ``name`` is the config's, and ``config`` the resolved one."""
    classifier, num_images = findings.classifier, len(findings.measured.exact)
    layers = f"{findings.measured.comparison.num_equations} dense layers"
    title = f"{name}: {classifier.checkpoint.name}, {layers}, {classifier.origin}, {num_images} images"
    record = _record(str(config["model"]["name"]), findings)
    comparison = findings.measured.comparison
    curves = {label: solver.curves for label, solver in findings.solvers.items()}
    layer_s = np.array([layer.median for layer in findings.measured.path.layers], np.float32)
    return Report(
        kind="densenet",
        title=title,
        config=config,
        record=record,
        arrays={"curves.npz": {**to_files(curves), "exact_logits": findings.measured.exact, "layer_s": layer_s}},
        artifacts=[
            Picture("convergence_by_step.png", partial(by_step_figure, curves, record, title)),
            Picture("predictions_by_step.png", partial(predictions_figure, curves, record, title)),
            Picture("by_time.png", partial(by_time_figure, curves, record, title)),
        ],
        tables=[comparison_table(comparison, title), *prediction_tables(comparison.rows), *_tables(findings)],
        sentences=findings.sentences,
        failure=_failure(findings),
    )


def _record(model: str, findings: Findings) -> dict[str, Any]:
    measured, solvers = findings.measured, findings.solvers
    comparison, path = measured.comparison, measured.path
    return {
        "weights": findings.classifier.description,
        "images": {"source": findings.images, "num_images": len(measured.exact)},
        "accuracy": findings.accuracy,
        "system": {
            "name": model,
            **comparison.system_record,
            "sequential_pass_s": dataclasses.asdict(measured.sequential_s),
            "readout_s": dataclasses.asdict(measured.readout_s),
        },
        "error_reference": comparison.reference_label,
        "fastest": comparison.fastest,
        "rows": [
            {**comparison.record(row), "on_all_images": _on_all_images(solvers.get(row.label))}
            for row in comparison.rows
        ],
        "by_sweep": {label: _by_sweep(solver.curves, measured.exact) for label, solver in solvers.items()},
        "early_exit": {label: solver.early_exits for label, solver in solvers.items() if solver.parallel},
        "critical_path": {
            "kind": "a model, not a measurement: sequential steps x the slowest layer; the layers are measured",
            "layer_s": [layer.median for layer in path.layers],
            "slowest_s": path.slowest_s,
            "sequential_s": path.sequential_s,
            "rows": [solver.times for solver in solvers.values()],
        },
        "findings": findings.sentences,
    }


def _on_all_images(solver: SolverFindings | None) -> dict[str, Any] | None:
    """The part of a row that is about all images; None where the solver was not followed."""
    if solver is None:
        return None
    return {
        "status": solver.outcome.label,
        "max_logit_error": solver.final_error,
        "same_top5": float(solver.curves["top5"][-1].mean()),
        "settled": solver.settled,
    }


def _by_sweep(curves: Mapping[str, np.ndarray], exact: np.ndarray) -> dict[str, Any]:
    """The curves over all images, by step."""
    relative = curves["error"] / np.max(np.abs(exact), axis=-1)
    return {
        **{name: curves[name].tolist() for name in ("num_steps", "time_s", "modelled_s")},
        "error": quartiles(curves["error"]),
        "relative_error": quartiles(relative),
        "difference": quartiles(curves["difference"]),
        **{name: curves[name].mean(axis=1).tolist() for name in ("top1", "top5", "top5_in_order")},
    }


def _tables(findings: Findings) -> Iterator[ResultTable]:
    """Early exits of the parallel solvers, and times of all."""
    parallel = [solver for solver in findings.solvers.values() if solver.parallel]
    in_order = any(solver.row.entry.name == "segmented" for solver in parallel)
    exits = [{"label": solver.row.label, **found} for solver in parallel for found in solver.early_exits]
    title = "early exit: the five largest logits, in order, as they were k steps before"
    yield ResultTable.of(title, _EXIT_CELLS, exits, note=_IN_ORDER if in_order else "")
    times = [solver.times for solver in findings.solvers.values()]
    yield ResultTable.of("measured and modelled times of one batch", _TIME_CELLS, times)


def _failure(findings: Findings) -> str | None:
    """Solvers that could not be measured, or the first that did not converge, or converged to another answer."""
    if findings.measured.comparison.failure:
        return findings.measured.comparison.failure
    scale = max(1.0, float(np.max(np.abs(findings.measured.exact))))
    for row in findings.measured.comparison.rows:
        if row.status is not Status.CONVERGED:
            return f"{row.label}: {row.status.sentence}"
        solver = findings.solvers.get(row.label)
        if solver is None:
            continue
        if solver.outcome is not Status.CONVERGED:
            return f"{row.label}, on all images: {solver.outcome.sentence}"
        if not solver.final_error <= MISMATCH * scale and row.entry.solver.tol <= MISMATCH:
            return (
                f"{row.label}: the solver converged, but its logits are {solver.final_error:.1e} off the sequential "
                "pass's; the network's equations do not agree with its pass (see check_system)"
            )
    return None
