"""Pictures of trainings: metrics by epoch, and what models make: a classifier's errors, sound beside the clip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from runners.plotting.audio import compare_audio
from runners.plotting.style import FAINT, INK, new_figure, set_title, style_axes
from runners.training.metrics import Evaluated, Metric

_WIDTH, _HEIGHT = 7, 4.2  # inches, of a metric
_MOST = 40  # wrong images in the picture: the first ones
_DARKEST = 5  # wrong answers of a kind at which the colour is full, where there are no more
_MAX_NUMBERS = 20  # classes up to which the counts are written into the cells


def training_figure(
    history: Sequence[Mapping[str, Any]], metrics: Sequence[Metric], evaluated: Evaluated, title: str
) -> Figure:
    """Metrics by epoch, side by side. ``history`` is that of results.json, which has the metrics of ``evaluated``."""
    figure = new_figure(_WIDTH * len(metrics), _HEIGHT)
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        draw_metric(axes, history, metric, evaluated)
    set_title(figure, title)
    return figure


def draw_metric(axes: Axes, history: Sequence[Mapping[str, Any]], metric: Metric, evaluated: Evaluated) -> None:
    """Draw one metric by epoch: of the weights, of the averaged weights, and in training where it is the loss."""
    where = evaluated.words.replace("-", " ")
    curves = (
        (f"train_{metric.key}", "training, mean over the epoch", "#8a8a8a", "-"),
        (evaluated.key(metric), where, "#0072b2", (0, (5, 2))),
        (evaluated.averaged_key(metric), f"{where}, averaged weights", "#d55e00", "-"),
    )
    epochs = [row["epoch"] for row in history]
    # Without the first twentieth of the epochs, beside whose change all else would look flat.
    later, seen = history[len(history) // 20 :], []
    for key, label, colour, dashes in curves:
        if key not in history[-1]:
            continue
        seen += [row[key] for row in later]
        marker = "o" if len(history) == 1 else None
        values = [row[key] for row in history]
        axes.plot(epochs, values, color=colour, linestyle=dashes, lw=1.6, label=label, marker=marker)
    margin = 0.08 * (max(seen) - min(seen)) + 1e-3
    axes.set(xlabel="epoch", ylabel=metric.axis, ylim=(min(seen) - margin, max(seen) + margin))
    style_axes(axes)
    axes.legend(frameon=False, fontsize=9)
    last = history[-1][evaluated.averaged_key(metric)]
    text, drop = metric.shown(last), (0, -14)
    axes.annotate(text, (epochs[-1], last), drop, textcoords="offset points", ha="right", color=FAINT)


def errors_figure(
    images: UInt8[np.ndarray, "N H W C"],
    labels: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, " N"],
    confusions: Int[np.ndarray, "K K"],
) -> Figure:
    """Draw the counts of true classes (rows) by predicted ones (columns), and the first images that are wrong."""
    figure = new_figure(13, 5.6)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.35))[0]
    draw_confusions(left.subplots(), confusions)
    wrong = np.flatnonzero(predicted != labels)
    captions = [f"{labels[i]} as {predicted[i]}" for i in wrong]
    _draw_images(right, images[wrong], captions)
    total = len(labels)
    set_title(figure, f"{len(wrong)} of {total} held-out images wrong: {1 - len(wrong) / total:.2%} right")
    return figure


def draw_confusions(axes: Axes, counts: Int[np.ndarray, "K K"]) -> None:
    """Draw counts off the diagonal in colour, all of them in numbers where there is room."""
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    darkest = max(_DARKEST, int(wrong.max()))
    axes.imshow(wrong, cmap="Oranges", vmin=0, vmax=darkest)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    if len(counts) > _MAX_NUMBERS:
        return
    axes.set(xticks=range(len(counts)), yticks=range(len(counts)))
    size = min(9.0, 110.0 / len(counts) / math.sqrt(len(str(counts.max()))))
    for (true, predicted), count in np.ndenumerate(counts):
        if count:
            dark = wrong[true, predicted] > 0.6 * darkest
            colour = "white" if dark else FAINT if true == predicted else INK
            axes.text(predicted, true, str(count), ha="center", va="center", fontsize=size, color=colour)


def continuation_figure(
    made: Mapping[str, Float[np.ndarray, " T"]], clip: Float[np.ndarray, " N"], prompt: int, sample_rate: int
) -> Figure:
    """Sounds by the name of how they were made, below the clip whose first ``prompt`` samples they begin with."""
    length = max(map(len, made.values()))
    given = f"its first {1e3 * prompt / sample_rate:g} ms" if prompt else "nothing"
    clips = {"training clip": clip[:length], **made}
    return compare_audio(clips, sample_rate, f"A clip, and what its model makes of {given}")


def _draw_images(figure: SubFigure, images: UInt8[np.ndarray, "N H W C"], captions: list[str]) -> None:
    """Draw the first images, each below its caption."""
    shown = images[:_MOST]
    columns = min(8, max(4, math.ceil(math.sqrt(1.6 * len(shown)))))
    panels = figure.subplots(max(3, -(-len(shown) // columns)), columns)
    for axes in panels.flat:
        axes.axis("off")
    for axes, image, caption in zip(panels.flat, shown, captions, strict=False):
        axes.imshow(image.squeeze(), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(caption, fontsize=8.5, color=INK, pad=2)
    more = len(images) - len(shown)
    figure.supxlabel(f"{more} more are in results.json" if more else "", fontsize=9, color=FAINT)
