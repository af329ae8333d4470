"""A sampling run as a report: rows, traces, frames, samples and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

from runners.measure.comparison import Comparison
from runners.measure.job import FRAME_SAMPLES, MISMATCH
from runners.measure.table import comparison_table
from runners.plotting.convergence import by_label, convergence_figure
from runners.plotting.images import sample_grid
from runners.plotting.picture import Picture
from runners.plotting.solving_gif import GifRow, solving_gif
from runners.report.report import Artifact, Report
from solvers import Status


@dataclass(frozen=True)
class Samples:
    """The samples, batch first, what gives them, and how to see or hear them.

    Attributes:
        samples: as files hold them.
        inputs: noise, and whatever else was given, as files hold it.
        to_images: a state (T, N, ...) as images, where samples are images.
        record: what results.json says of them besides.
        artifacts: what there is to see or hear where they are not images.
    """

    samples: Shaped[np.ndarray, "B ..."]
    inputs: Mapping[str, Shaped[np.ndarray, "B ..."]]
    to_images: Callable[[np.ndarray], UInt8[np.ndarray, "N H W C"]] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Sequence[Artifact] = ()


def sampling_report(title: str, config: Mapping[str, Any], comparison: Comparison, samples: Samples) -> Report:
    """What a comparison of solvers found, with the samples. ``config`` is the resolved one."""
    rows = [comparison.record(row) for row in comparison.rows]
    traces, frames = _traces(comparison), _frames(comparison, samples)
    return Report(
        kind="sampling",
        title=title,
        config=config,
        record={
            "system": {"name": str(config["model"]["name"]), **comparison.system_record},
            "error_reference": comparison.reference_label,
            "fastest": comparison.fastest,
            "rows": rows,
            "skipped": [skipped.record for skipped in comparison.skipped],
            **samples.record,
        },
        arrays={
            "samples.npz": {
                "samples": samples.samples,
                **samples.inputs,
                "seed": np.asarray(config["seed"], np.uint32),
            },
            "traces.npz": traces,
            "frames.npz": frames,
        },
        artifacts=[*_pictures(title, comparison, samples, traces, rows, frames), *samples.artifacts],
        tables=[comparison_table(comparison, title)],
        sentences=[skipped.sentence for skipped in comparison.skipped],
        failure=comparison.failure or _failure(comparison),
        interrupted=comparison.interrupted,
    )


def _traces(comparison: Comparison) -> dict[str, np.ndarray]:
    return {
        f"{row.label}/{name}": array.astype(np.float32) if array.dtype == np.float64 else array
        for row in comparison.rows
        if row.trace is not None
        for name, array in row.trace.items()
    }


def _frames(comparison: Comparison, samples: Samples) -> dict[str, np.ndarray]:
    """States on the way to the answer as images, where samples are images."""
    flat: dict[str, np.ndarray] = {}
    for row in comparison.rows:
        if row.frames is None or samples.to_images is None:
            continue
        flat |= {
            f"{row.label}/frames": np.stack([samples.to_images(x) for x in row.frames.states])[:, :FRAME_SAMPLES],
            f"{row.label}/time_s": row.frames.time_s.astype(np.float32),
            f"{row.label}/num_steps": row.frames.num_steps,
        }
    return flat


def _pictures(
    title: str,
    comparison: Comparison,
    samples: Samples,
    traces: Mapping[str, np.ndarray],
    rows: Sequence[Mapping[str, Any]],
    frames: Mapping[str, np.ndarray],
) -> list[Picture]:
    pictures = []
    if traces:
        draw = partial(convergence_figure, by_label(traces), rows, title, comparison.reference_label)
        pictures += [
            Picture("convergence_by_step.png", partial(draw, "num_steps")),
            Picture("convergence_by_time.png", partial(draw, "time_s")),
        ]
    if samples.to_images is not None:
        images = samples.to_images(np.asarray(comparison.reference))
        pictures.append(Picture("samples.png", partial(sample_grid, images)))
    if frames:
        pictures.append(Picture("solving.gif", lambda: solving_gif(_gif_rows(frames), title)))
    return pictures


def _gif_rows(frames: Mapping[str, np.ndarray]) -> list[GifRow]:
    return [
        GifRow(label, arrays["frames"], arrays["time_s"], arrays["num_steps"])
        for label, arrays in by_label(frames).items()
    ]


def _failure(comparison: Comparison) -> str | None:
    """The first row that did not converge, or whose answer is not one of the system's."""
    for row in comparison.rows:
        if row.status is not Status.CONVERGED:
            return f"{row.label}: {row.status.sentence}"
        if row.mismatched_equations and row.entry.solver.tol <= MISMATCH:  # else a rough answer was asked for
            return (
                f"{row.label}: the solver converged, but {row.mismatched_equations} equations differ from the "
                "reference sweep; the model's blocks or caches do not agree with its sweep (see check_system)"
            )
    return None
