"""A sampling run as a report: rows, traces, frames, samples and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from runners.measure.choosing import prediction_tables
from runners.measure.comparison import Comparison, comparison_table
from runners.measure.job import FRAME_SAMPLES
from runners.plotting.convergence import Rows, Traces, convergence_figure, to_files
from runners.plotting.picture import Picture, sample_grid
from runners.plotting.scales import drawn_times
from runners.plotting.solving_gif import GifRow, solving_gif
from runners.report.report import Artifact, Report
from runners.sampling.figures import stopped_figure
from solvers.system import SegmentedSystem


@dataclass(frozen=True)
class Samples:
    """How files hold samples, batch first, what gives them, and how to see or hear them, or to judge them."""

    in_files: Callable[[Any], Shaped[np.ndarray, "B ..."]]  # samples as files hold them, of a state
    inputs: Mapping[str, Shaped[np.ndarray, "B ..."]]  # noise, and whatever else was given
    # A state, leaves (T, N, ...), as images, where samples are images, and minus the log-likelihood of images.
    to_images: Callable[[Any], UInt8[np.ndarray, "N H W C"]] | None = None
    bits_per_dim: Callable[[UInt8[np.ndarray, "N H W C"]], Float[np.ndarray, " N"]] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)  # what results.json says of them besides
    sentences: Sequence[str] = ()
    artifacts: Sequence[Artifact] = ()  # what there is to see or hear where they are not images


def sampling_report(title: str, config: Mapping[str, Any], comparison: Comparison, samples: Samples) -> Report:
    """What a comparison of solvers found, with the samples. ``config`` is the resolved one."""
    rows = [comparison.record(row) for row in comparison.rows]
    traces = {row.label: row.trace for row in comparison.rows if row.trace is not None}
    frames = _frames(comparison, samples)
    rough = {row.label: row.value for row in comparison.rows if row.roughness is not None}
    bits, unjudged = _bits_per_dim(comparison, samples, rough)
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
            **({"bits_per_dim": bits} if bits else {}),
        },
        arrays={
            "samples.npz": {
                "samples": samples.in_files(comparison.reference),
                **samples.inputs,
                "seed": np.asarray(config["seed"], np.uint32),
            },
            "stopped.npz": {label: samples.in_files(x) for label, x in rough.items()},
            "traces.npz": to_files(traces),
            "frames.npz": to_files(frames),
        },
        artifacts=[*_pictures(title, comparison, samples, rows, traces, frames), *samples.artifacts],
        tables=[comparison_table(comparison, title), *prediction_tables(comparison.rows)],
        sentences=[*comparison.sentences, *samples.sentences, *_likelihoods(bits)],
        failure=comparison.complaint or unjudged,
        interrupted=comparison.interrupted,
    )


def steps_by_segment(system: Any, comparison: Comparison) -> dict[str, dict[str, list[int]]]:
    """By solver the steps that each segment of a system took to become exact in all samples, one after the other.

    Of solvers that were traced, and whose segments end one by one: within a tolerance all may end together. Empty where
    the system has no segments.
    """
    if not isinstance(system, SegmentedSystem):
        return {}
    ends = np.cumsum([len(leaf) for leaf in jax.tree.leaves(system.initial_guess())])
    found = {}
    for row in comparison.rows:
        if row.trace is not None:
            reached = np.maximum.accumulate(row.trace["frontier"])[:, None] >= ends
            if reached[:, :-1].any(0).all():  # the last ends with the solve
                ended = [*row.trace["num_steps"][reached[:, :-1].argmax(0)], row.num_steps]
                found[row.label] = np.diff(ended, prepend=0).tolist()
    return {"steps_by_segment": found}


def _bits_per_dim(
    comparison: Comparison, samples: Samples, rough: Mapping[str, Any]
) -> tuple[dict[str, float], str | None]:
    """What the model itself thinks of rough samples, and of the exact ones: the means over the batch.

    A model of a user's own that cannot tell costs the run its success and not its results: the second is why.
    """
    if not rough or samples.to_images is None or samples.bits_per_dim is None:
        return {}, None
    states = {comparison.reference_label: comparison.reference, **rough}
    try:
        return {label: float(samples.bits_per_dim(samples.to_images(x)).mean()) for label, x in states.items()}, None
    except Exception as error:
        return {}, f"the bits/dim of rough samples cannot be told: {' '.join(str(error).split()) or repr(error)}"


def _likelihoods(bits: Mapping[str, float]) -> Iterator[str]:
    for i, (label, value) in enumerate(bits.items()):
        yield f"{label}: {value:.2f} bits/dim, by the model itself, of {'rough' if i else 'the exact'} samples."


def _frames(comparison: Comparison, samples: Samples) -> dict[str, dict[str, np.ndarray]]:
    """By label, states on the way to the answer as images, and when they were reached; where samples are images."""
    return {
        row.label: {
            "frames": np.stack([samples.to_images(x) for x in row.frames.each])[:, :FRAME_SAMPLES],
            "time_s": row.frames.time_s.astype(np.float32),
            "num_steps": row.frames.num_steps,
        }
        for row in comparison.rows
        if row.frames is not None and samples.to_images is not None
    }


def _gif_row(row: Mapping[str, Any], way: Mapping[str, np.ndarray]) -> GifRow:
    seconds, solved = drawn_times(row, way["time_s"]), row["status"] == "converged"
    return GifRow(row["label"], way["frames"], seconds, way["num_steps"], converged=solved)


def _pictures(
    title: str, comparison: Comparison, samples: Samples, rows: Rows, traces: Traces, frames: Traces
) -> Iterator[Picture]:
    if traces:
        draw = partial(convergence_figure, traces, rows, title, comparison.reference_label)
        yield Picture("convergence_by_step.png", partial(draw, "num_steps"))
        yield Picture("convergence_by_time.png", partial(draw, "time_s"))
    if samples.to_images is not None:
        yield Picture("samples.png", partial(sample_grid, samples.to_images(comparison.reference)))
        rough = {row.label: samples.to_images(row.value) for row in comparison.rows if row.roughness is not None}
        if rough:
            exact = {f"exact, by {comparison.reference_label}": samples.to_images(comparison.reference)}
            yield Picture("stopped.png", partial(stopped_figure, {**exact, **rough}, title))
    if frames:
        measured = {row["label"]: row for row in rows}

        def animated() -> bytes:
            return solving_gif([_gif_row(measured[label], way) for label, way in frames.items()], title)

        yield Picture("solving.gif", animated)
