"""All that an experiment on a DenseNet found out, as one value that is computed once: numbers and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from data.images.dataset import LabelledImages
from runners.densenet.answers import top_classes
from runners.densenet.follow import Followed
from runners.densenet.layers import CriticalPath
from runners.densenet.solver_findings import SolverFindings, solver_findings
from runners.densenet.weights import LoadedClassifier
from runners.measure.comparison import Comparison
from runners.measure.timing import Times
from runners.report.published import DENSENET201
from runners.report.units import format_seconds


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
class Findings:
    """The measurements, and all that follows from them.

    Attributes:
        measured: the measurements.
        solvers: those that were followed on all images, by the label of their row.
        accuracy: the share of images whose largest logit is that of their class, where it is known.
        weights: what the weights are, in words.
        images: what the images are, in words.
        subject: network, weights and images, for a title.
        sentences: what came out, in words.
    """

    measured: Measured
    solvers: dict[str, SolverFindings]
    accuracy: float | None
    weights: str
    images: str
    subject: str
    sentences: list[str]


def find(measured: Measured, classifier: LoadedClassifier, pictures: LabelledImages, ks: Sequence[int]) -> Findings:
    """Work out all that follows from the measurements; ``ks`` are the config's, after which one may stop early."""
    comparison, exact = measured.comparison, measured.exact
    checkpoint, labels = classifier.checkpoint, pictures.labels
    solvers = {
        row.label: solver_findings(row, measured.followed[row.label], measured.path, exact, ks)
        for row in comparison.rows
        if row.label in measured.followed
    }
    accuracy = None if labels is None else float(np.mean(top_classes(exact)[:, 0] == labels))
    sentences = [
        *_times(measured),
        *(_settled(solver, comparison.num_equations, len(exact)) for solver in solvers.values() if solver.parallel),
        *_published(comparison.num_equations, checkpoint.trained),
    ]
    if accuracy is not None:
        sentences.append(f"Accuracy of the exact output: {accuracy:.1%} of {len(exact)} {pictures.source}.")
    layers = f"{comparison.num_equations} dense layers"
    return Findings(
        measured=measured,
        solvers=solvers,
        accuracy=accuracy,
        weights=classifier.description,
        images=pictures.source,
        subject=f"{checkpoint.name}, {layers}, {classifier.origin}, {len(exact)} images",
        sentences=sentences,
    )


def _times(measured: Measured) -> Iterator[str]:
    path, comparison = measured.path, measured.comparison
    yield (
        f"Measured: a sequential pass takes {format_seconds(measured.sequential_s.median)}, one sweep "
        f"{format_seconds(comparison.sweep_s.median)}, the logits from a state "
        f"{format_seconds(measured.readout_s.median)} (batch {comparison.batch_size})."
    )
    yield (
        f"Modelled, not measured: a parallel step takes as long as the slowest of the {len(path.layers)} layers by "
        f"itself, {format_seconds(path.slowest_s)}, and a sequential pass the sum over layers, "
        f"{format_seconds(path.sequential_s)}."
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
