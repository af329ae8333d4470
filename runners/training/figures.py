"""The picture of a training: its metrics by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runners.plotting.style import FAINT, new_figure, set_title, style_axes
from runners.training.metrics import Evaluated, Metric

_WIDTH, _HEIGHT = 7, 4.2  # inches, of a metric


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
