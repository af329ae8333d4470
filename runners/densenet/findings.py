"""All that an experiment on a DenseNet found out, as one value that is computed once: curves, times, sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from data.images.dataset import LabelledImages
from runners.densenet.answers import Answers, Followed, top_classes
from runners.densenet.config import LoadedClassifier
from runners.densenet.layers import SEQUENTIAL, CriticalPath
from runners.measure.choosing import prediction_sentences
from runners.measure.comparison import Comparison
from runners.measure.job import Row
from runners.measure.timing import Times
from runners.report.published import DENSENET201
from runners.report.units import format_seconds
from solvers import Status


@dataclass(frozen=True)
class Measured:
    """The measurements; times are those of the first batch."""

    comparison: Comparison
    exact: Float[np.ndarray, "N K"]  # the logits of the sequential pass
    followed: Mapping[str, Followed]  # by the label of a row
    path: CriticalPath
    sequential_s: Times  # the whole network once, layer after layer
    readout_s: Times  # logits from a state


@dataclass(frozen=True)
class SolverFindings:
    """One solver, followed on all images."""

    row: Row  # its row of the comparison, on the first batch
    outcome: Status  # how it ended, for the image with the worst end
    parallel: bool  # whether it takes layers at once and not one after the other
    curves: dict[str, np.ndarray]  # by step from the first guess on: they draw the pictures and make curves.npz
    final_error: float  # the largest error of a logit at the end, over all images
    # Steps after which the five largest logits, their order and all logits do not change, over the images.
    settled: dict[str, dict[str, float]]
    early_exits: list[dict[str, Any]]  # the cost of stopping early, for every k; of a parallel solver only
    times: dict[str, Any]  # measured and modelled, until half of the images have their last top five, and in full


@dataclass(frozen=True)
class Findings:
    """The measurements, and all that follows from them."""

    measured: Measured
    solvers: dict[str, SolverFindings]  # those that were followed on all images, by the label of their row
    accuracy: float | None  # the share of images whose largest logit is that of their class, where it is known
    classifier: LoadedClassifier
    images: str  # what the images are, in words
    sentences: list[str]  # what came out, in words


def find(measured: Measured, classifier: LoadedClassifier, pictures: LabelledImages, ks: Sequence[int]) -> Findings:
    """Work out all that follows from the measurements; ``ks`` are the config's, after which one may stop early."""
    comparison, exact = measured.comparison, measured.exact
    checkpoint, labels = classifier.checkpoint, pictures.labels
    solvers = {
        row.label: _solver_findings(row, measured.followed[row.label], measured.path, exact, ks)
        for row in comparison.rows
        if row.label in measured.followed
    }
    accuracy = None if labels is None else float(np.mean(top_classes(exact)[:, 0] == labels))
    sentences = [
        *_times(measured),
        *(_settled(solver, comparison.num_equations, len(exact)) for solver in solvers.values() if solver.parallel),
        *_published(comparison.num_equations, checkpoint.trained),
        *prediction_sentences(comparison.rows),
    ]
    if accuracy is not None:
        sentences.append(f"Accuracy of the exact output: {accuracy:.1%} of {len(exact)} {pictures.source}.")
    return Findings(
        measured=measured,
        solvers=solvers,
        accuracy=accuracy,
        classifier=classifier,
        images=pictures.source,
        sentences=sentences,
    )


def _solver_findings(
    row: Row, followed: Followed, path: CriticalPath, exact: Float[np.ndarray, "N K"], ks: Sequence[int]
) -> SolverFindings:
    """Work out all that follows from the way of one solver; the trace of its row gives measured times."""
    curves = _curves(row, followed, path, exact)
    parallel = row.entry.inner_name not in SEQUENTIAL
    settled = {name: _spread(steps) for name, steps in followed.answers.settled().items()}
    return SolverFindings(
        row=row,
        outcome=followed.outcome,
        parallel=parallel,
        curves=curves,
        final_error=float(np.max(curves["error"][-1])),
        settled=settled,
        early_exits=[_early_exit(followed.answers, curves, exact, k) for k in ks] if parallel else [],
        times=_solver_times(row, curves, settled["top5"]["median"]),
    )


def _curves(row: Row, followed: Followed, path: CriticalPath, exact: Float[np.ndarray, "N K"]) -> dict[str, np.ndarray]:
    answers = followed.answers
    by_iteration = {"error": answers.error(exact), "difference": followed.difference, **answers.agreement(exact)}
    return {
        "num_steps": answers.all_steps,
        "time_s": _measured_s(row, answers.all_steps),
        "modelled_s": path.modelled_s(row.entry, answers.all_steps),
        **{name: answers.by_steps(rows) for name, rows in by_iteration.items()},
    }


def _measured_s(row: Row, num_steps: Int[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    """Measured seconds by step on the first batch, linear in between; NaN for steps that it did not need."""
    trace = row.trace or {}
    known, seconds = (np.concatenate([[0], trace.get(name, [])]) for name in ("num_steps", "time_s"))
    return np.interp(num_steps, known, seconds, right=np.nan)


def _early_exit(
    answers: Answers, curves: Mapping[str, np.ndarray], exact: Float[np.ndarray, "N K"], k: int
) -> dict[str, Any]:
    found = answers.early_exit(exact, k)
    times = {"measured_s": "time_s", "modelled_s": "modelled_s"}
    return found | {key: _at(curves, name, found["mean_steps"]) for key, name in times.items()}


def _solver_times(row: Row, curves: Mapping[str, np.ndarray], settled_steps: float) -> dict[str, Any]:
    return {
        "label": row.label,
        "top5_settled_steps": settled_steps,
        "measured_top5_settled_s": _at(curves, "time_s", settled_steps),
        "modelled_top5_settled_s": _at(curves, "modelled_s", settled_steps),
        "measured_s": row.run_s.median,
        "modelled_s": _at(curves, "modelled_s", float(row.num_steps)),
    }


def _at(curves: Mapping[str, np.ndarray], name: str, num_steps: float) -> float:
    """A time after so many steps, linear in between; after the last known one that of its end."""
    known = np.isfinite(curves[name])
    return float(np.interp(num_steps, curves["num_steps"][known], curves[name][known]))


def _spread(steps: Int[np.ndarray, " N"]) -> dict[str, float]:
    """Median, mean and range over the images."""
    return {
        "median": float(np.median(steps)),
        "mean": float(np.mean(steps)),
        "min": int(np.min(steps)),
        "max": int(np.max(steps)),
    }


def _times(measured: Measured) -> Iterator[str]:
    path, comparison = measured.path, measured.comparison
    yield (
        f"Measured: a sequential pass takes {format_seconds(measured.sequential_s.median)}, one sweep "
        f"{format_seconds(comparison.sweep_s.median)}, the logits from a state "
        f"{format_seconds(measured.readout_s.median)} (batch {comparison.batch_size})."
    )
    yield (
        f"Modelled, not measured: a parallel step takes as long as the slowest of the {len(path.layers)} layers by "
        f"itself, {format_seconds(path.slowest_s)}. The measured sequential pass lasts "
        f"{measured.sequential_s.median / path.slowest_s:.1f} such steps."
    )


def _settled(solver: SolverFindings, num_layers: int, num_images: int) -> str:
    top5, logits = solver.settled["top5"], solver.settled["logits"]
    return (
        f"{solver.row.label}, {num_images} images: the five largest logits settle after {top5['median']:g} steps at "
        f"the median ({top5['max']:g} at most), all logits after {logits['median']:g} ({logits['max']:g}), of "
        f"{num_layers} layers; the last error of a logit is {solver.final_error:.1e}."
    )


def _published(num_layers: int, trained: bool) -> Iterator[str]:
    """The published figure, where the network is as deep as the published one."""
    if num_layers == DENSENET201["layers"]:
        here = "" if trained else " (trained weights; the weights here are random)"
        yield f"Published{here}: the five smallest logits settle after about {DENSENET201['settled']} of {num_layers}."
