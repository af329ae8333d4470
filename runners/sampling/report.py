"""What a sampling run leaves behind: results, traces, frames, samples and pictures, in a folder that appears whole."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import replaced_folder
from runners.experiment import RunContext
from runners.measure.comparison import Comparison, row_record
from runners.measure.job import FRAME_SAMPLES
from runners.plotting.convergence import convergence_by_step, convergence_by_time, sample_grid
from runners.plotting.solving_gif import GifRow, write_solving_gif
from runners.report.environment import describe_environment
from runners.training.task import Artifact

SCHEMA = 1


@dataclass(frozen=True)
class SamplesReport:
    """The samples, batch first, what gives them (noise, and whatever else was given), and how to see or hear them."""

    samples: np.ndarray
    inputs: Mapping[str, np.ndarray]
    to_images: Callable[[np.ndarray], np.ndarray] | None  # a state (T, N, ...) -> uint8 (N, H, W, C), if it is one
    artifact: Artifact | None = None  # what is not images


def write_report(
    context: RunContext,
    seed: int,
    config: Mapping[str, Any],
    comparison: Comparison,
    samples: SamplesReport,
    title: str,
) -> None:
    """Write everything to ``context.out``, which keeps its old content until all of the new is there.

    ``title`` stands above the pictures.
    """
    record = _record(context, seed, config, comparison)
    if samples.artifact is not None:
        record |= samples.artifact.record
    with replaced_folder(context.out) as folder:
        write_json(folder / "results.json", record)
        arrays: dict[str, Any] = {"samples": samples.samples, **samples.inputs, "seed": np.uint32(seed)}
        np.savez_compressed(folder / "samples.npz", **arrays)
        _write_traces(folder, title, record, comparison)
        if samples.to_images is not None:
            sample_grid(folder / "samples.png", samples.to_images(np.asarray(comparison.reference)))
            _write_frames(folder, title, comparison, samples.to_images)
        if samples.artifact is not None:
            samples.artifact.write(folder, "")


def _record(context: RunContext, seed: int, config: Mapping[str, Any], comparison: Comparison) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "name": context.name,
        "runner": context.runner,
        "config": dict(config),
        "seed": seed,
        **describe_environment(),
        "system": {
            "name": str(config["model"]["name"]),
            "num_equations": comparison.num_equations,
            "batch_size": comparison.batch_size,
            "sweep_s": dataclasses.asdict(comparison.sweep_s),
            "sweep_flops": comparison.sweep_flops,
        },
        "error_reference": comparison.reference_label,
        "fastest": comparison.best.label if comparison.best else None,
        "rows": [row_record(row, comparison) for row in comparison.rows],
    }


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as strict JSON; what JSON cannot say (NaN, infinity) becomes a string."""
    path.write_text(json.dumps(_strict(record), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _strict(value: Any) -> Any:
    """The value with what JSON cannot say (NaN, infinity) as a string."""
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _write_traces(folder: Path, title: str, record: Mapping[str, Any], comparison: Comparison) -> None:
    traces = {row.label: row.trace for row in comparison.rows if row.trace is not None}
    if not traces:
        return
    flat: dict[str, Any] = {
        f"{label}/{name}": array.astype(np.float32) if array.dtype == np.float64 else array
        for label, trace in traces.items()
        for name, array in trace.items()
    }
    np.savez_compressed(folder / "traces.npz", **flat)
    reference = comparison.reference_label
    convergence_by_step(folder / "convergence_by_step.png", traces, record["rows"], title, reference)
    convergence_by_time(folder / "convergence_by_time.png", traces, record["rows"], title, reference)


def _write_frames(
    folder: Path, title: str, comparison: Comparison, to_images: Callable[[np.ndarray], np.ndarray]
) -> None:
    rows: list[GifRow] = []
    flat: dict[str, Any] = {}
    for row in comparison.rows:
        if row.frames is None:
            continue
        images = np.stack([to_images(state) for state in row.frames.states])[:, :FRAME_SAMPLES]
        rows.append(GifRow(row.label, images, row.frames.time_s, row.frames.num_steps))
        flat |= {
            f"{row.label}/frames": images,
            f"{row.label}/time_s": row.frames.time_s.astype(np.float32),
            f"{row.label}/num_steps": row.frames.num_steps,
        }
    if rows:
        np.savez_compressed(folder / "frames.npz", **flat)
        write_solving_gif(folder / "solving.gif", rows, title)
