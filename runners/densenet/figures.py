"""Pictures of a DenseNet solved for its layers: error, forward difference and predictions, by step and by time.

``curves`` are the arrays of curves.npz by the label of a row and their name: num_steps (S,), time_s (S,) measured and
modelled_s (S,) modelled, error and difference (S, N), top1 and top5 (S, N), whether the answer is the exact one.
``record`` is the content of results.json. Measured and modelled times never share an axis, but for the line of the
measured sequential pass, which both are held against. The ``draw_*`` functions
draw on axes that the caller has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from runners.plotting.scales import drawn_times
from runners.plotting.style import (
    DASHES,
    FAINT,
    INK,
    draw_legend,
    new_figure,
    number_between,
    set_title,
    solver_style,
    style_axes,
)
from runners.report.published import DENSENET201
from runners.report.units import format_seconds

Curves: TypeAlias = Mapping[str, Mapping[str, Shaped[np.ndarray, "..."]]]
XAxis: TypeAlias = Literal["num_steps", "time_s", "modelled_s"]
Answer: TypeAlias = Literal["top1", "top5", "top5_in_order"]

_X_LABELS = {
    "num_steps": "sequential steps",
    "time_s": "measured time, up to the median of the runs",
    "modelled_s": "MODELLED time: steps x slowest layer",
}
_ANSWERS = {
    "top1": "the same class",
    "top5": "the same five classes",
    "top5_in_order": "the same five classes in order",
}
_MODEL_PAPER = "#fbf4e4"  # the ground of what is not measured


def by_step_figure(curves: Curves, record: Mapping[str, Any], title: str) -> Figure:
    """Error, its logarithm, and forward difference by step."""
    figure = new_figure(13, 4.6)
    plain, log, difference = figure.subplots(1, 3)
    draw_error(plain, curves, record, "num_steps", log=False)
    draw_error(log, curves, record, "num_steps")
    draw_difference(difference, curves, record)
    return _finished(figure, title)


def predictions_figure(curves: Curves, record: Mapping[str, Any], title: str) -> Figure:
    """The shares of images with the exact answer by step."""
    figure = new_figure(10, 4.4)
    first, five = figure.subplots(1, 2, sharey=True)
    draw_predictions(first, curves, record, "num_steps", "top1")
    draw_predictions(five, curves, record, "num_steps", "top5")
    return _finished(figure, title)


def by_time_figure(curves: Curves, record: Mapping[str, Any], title: str) -> Figure:
    """Error and predictions by measured time, and below by modelled time."""
    figure = new_figure(10, 8.2)
    times: tuple[XAxis, XAxis] = ("time_s", "modelled_s")
    for (error, answer), x in zip(figure.subplots(2, 2), times, strict=True):
        draw_error(error, curves, record, x)
        draw_predictions(answer, curves, record, x)
    return _finished(figure, title)


def draw_error(axes: Axes, curves: Curves, record: Mapping[str, Any], x: XAxis, log: bool = True) -> None:
    """Draw max |logits - exact|: the median over images, and a band between the quartiles."""
    axes.set_title("error of the logits", fontsize=10.5, color=INK, loc="left")
    _draw_values(axes, curves, record, x, "error", log)
    axes.set_ylabel(r"max $|y - y^*|$")


def draw_difference(axes: Axes, curves: Curves, record: Mapping[str, Any], x: XAxis = "num_steps") -> None:
    """Draw the forward difference max |x_s - x_(s-1)| of the layers' features, as ``draw_error`` does."""
    axes.set_title("forward difference of the features", fontsize=10.5, color=INK, loc="left")
    _draw_values(axes, curves, record, x, "difference", True)
    axes.set_ylabel(r"max $|x_s - x_{s-1}|$")


def draw_predictions(axes: Axes, curves: Curves, record: Mapping[str, Any], x: XAxis, answer: Answer = "top5") -> None:
    """Draw the share of images whose answer is the exact one."""
    axes.set_title(f"images with {_ANSWERS[answer]} as the exact output", fontsize=10.5, color=INK, loc="left")
    _style(axes, record, x)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))
    axes.set_ylim(-0.03, 1.05)
    for row, label, look in _styled(curves, record):
        place = _places(row, curves, x)
        known = np.isfinite(place)
        share = np.asarray(curves[label][answer], float).mean(axis=1)
        axes.plot(place[known], share[known], drawstyle="steps-post", label=label, **look)


def _draw_values(axes: Axes, curves: Curves, record: Mapping[str, Any], x: XAxis, name: str, log: bool) -> None:
    """Median and quartiles over images. On a logarithmic axis zeros are left out: a line ends where it is exact."""
    _style(axes, record, x)
    axes.set_yscale("log" if log else "linear")
    for row, label, look in _styled(curves, record):
        place, values = _places(row, curves, x), np.asarray(curves[label][name], float)
        low, middle, high = np.percentile(values, [25, 50, 75], axis=1, method="nearest")
        known = np.isfinite(place) & np.isfinite(middle) & ((middle > 0) | (not log))
        axes.plot(place[known], middle[known], drawstyle="steps-post", label=label, **look)
        floor = np.min(middle[known], initial=np.inf) if log else -np.inf
        band = (place[known], np.maximum(low, floor)[known], high[known])
        axes.fill_between(*band, step="post", color=look["color"], alpha=0.13, lw=0)


def _places(row: Mapping[str, Any], curves: Curves, x: XAxis) -> Float[np.ndarray, " S"]:
    """Where a row's points stand: measured times end at the median of its runs."""
    place = np.asarray(curves[row["label"]][x], float)
    return drawn_times(row, place) if x == "time_s" else place


def _style(axes: Axes, record: Mapping[str, Any], x: XAxis) -> None:
    style_axes(axes)
    axes.set_xlabel(_X_LABELS[x])
    if x == "num_steps":
        if record["system"]["num_equations"] == DENSENET201["layers"]:
            _mark(axes, DENSENET201["settled"], "published: predictions settled")
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: format_seconds(seconds)))
    number_between(axes.xaxis, format_seconds)
    if x == "modelled_s":
        axes.set_facecolor(_MODEL_PAPER)
    _mark(axes, record["system"]["sequential_pass_s"]["median"], "measured sequential pass")


def _mark(axes: Axes, place: float, text: str) -> None:
    axes.axvline(place, color="#999999", lw=1, ls=(0, (2, 2)), zorder=0)
    where = axes.get_xaxis_transform()
    axes.text(place, 0.5, f" {text}", color=FAINT, fontsize=8, rotation=90, ha="right", va="center", transform=where)


def _styled(curves: Curves, record: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, dict[str, Any]]]:
    """Each row that was followed with the look of its line."""
    rows = [row for row in record["rows"] if row["label"] in curves]
    solvers = [_looks_like(row) for row in rows]
    for i, row in enumerate(rows):
        colour, marker = solver_style(solvers[i])
        dashes = DASHES[solvers[:i].count(solvers[i]) % len(DASHES)]
        look = {"color": colour, "marker": marker, "ls": dashes, "lw": 1.6, "ms": 4, "markevery": 0.08}
        yield row, row["label"], look


def _looks_like(row: Mapping[str, Any]) -> str:
    """The solver whose style a row has: blocks in order, layer by layer, are the cached sequential pass."""
    inner = row["options"].get("solver")
    inner = inner["name"] if isinstance(inner, Mapping) else inner  # older results have the bare name
    return "cached_sequential" if inner == "cached_sequential" else str(row["solver"])


def _finished(figure: Figure, title: str) -> Figure:
    draw_legend(figure, figure.axes)
    set_title(figure, title)
    return figure
