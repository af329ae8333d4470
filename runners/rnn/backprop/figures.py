"""Pictures of backpropagation by solvers: the gradient's error by step, and the loss by time and by parallel steps.

``rows`` are rows of results.json, ``traces`` the arrays of traces.npz by the label of a row and their name. Of a solve:
num_steps (S,) sequential steps so far and error (S, N), the relative error of each sequence's gradient. Of a training:
smoothed (R, S), seconds (R, S) and num_steps (R, S) for each step of R repeats. The ``draw_*`` functions draw on axes
that the caller has, the others write a PNG file whole or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from runners.plotting.convergence import Rows, Traces
from runners.plotting.style import FAINT, INK, SOLVER_STYLES, draw_legend, new_figure, save_figure, style_axes
from runners.report.units import format_seconds

LossAxis: TypeAlias = Literal["seconds", "num_steps"]

PUBLISHED_LENGTH = 100  # T
PUBLISHED_SWEEPS = (12, 15)  # sweeps after which the published gradient error is about zero
_OTHER = ("#444444", ".")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))
_LOSS_AXES = {"seconds": "measured training time", "num_steps": "sequential steps of all backward passes so far"}


def gradient_error_figure(path: Path, traces: Traces, rows: Rows, num_equations: int, title: str) -> None:
    """Write ``draw_gradient_error`` as a PNG."""
    figure = new_figure(9, 5.2)
    axes = figure.subplots()
    draw_gradient_error(axes, traces, rows, num_equations)
    _write(path, figure, axes, title)


def loss_figure(path: Path, traces: Traces, rows: Rows, x: LossAxis, title: str) -> None:
    """Write ``draw_loss`` as a PNG."""
    figure = new_figure(9, 5.2)
    axes = figure.subplots()
    draw_loss(axes, traces, rows, x)
    _write(path, figure, axes, title)


def draw_gradient_error(axes: Axes, traces: Traces, rows: Rows, num_equations: int) -> None:
    """Draw the relative error of the gradient by sequential step: the mean over sequences, and a band of a deviation.

    The band goes no further than the best and the worst sequence. Errors of exactly zero stand on a line of their own.
    """
    points = {row["label"]: _error_points(traces[row["label"]]) for row in rows if row["label"] in traces}
    values = np.concatenate([found[:, 1:].ravel() for found in points.values()]) if points else np.zeros(0)
    floor = 10.0 ** (math.floor(math.log10(min(values[values > 0], default=1.0))) - 1)
    axes.set(xscale="log", yscale="log", xlabel="sequential steps", ylabel=r"max $|g - g^*|$ / max $|g^*|$")
    style_axes(axes)
    axes.axvspan(*PUBLISHED_SWEEPS, color="#f0e6c8", lw=0, zorder=0)
    place = (math.sqrt(math.prod(PUBLISHED_SWEEPS)), 0.12)
    said = "published:\n{} to {}".format(*PUBLISHED_SWEEPS)
    axes.text(*place, said, ha="center", fontsize=8, color=FAINT, transform=axes.get_xaxis_transform())
    axes.axhspan(floor / 10**0.5, floor * 10**0.5, color="#f3f3f3", lw=0, zorder=0)
    axes.text(0.01, floor * 10**0.15, "exactly 0", transform=axes.get_yaxis_transform(), fontsize=8, color=FAINT)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"$10^{{{round(math.log10(y))}}}$" if y > floor else "0"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    for row, (colour, marker, dashes) in _styled([row for row in rows if row["label"] in points]):
        x, mean, low, high = np.maximum(points[row["label"]], [0.0, floor, floor, floor]).T
        line: dict[str, Any] = {"color": colour, "marker": marker, "ls": dashes, "lw": 1.6, "ms": 4, "markevery": 0.07}
        axes.plot(x, mean, drawstyle="steps-post", label=_steps_legend(row), **line)
        axes.plot(x[-1:], mean[-1:], color=colour, marker=marker, ms=8, mec="white", mew=0.8, zorder=4)
        axes.fill_between(x, low, high, step="post", color=colour, alpha=0.15, lw=0)
    axes.set_xlim(0.9, 1.15 * max(num_equations, PUBLISHED_SWEEPS[1]))
    axes.set_ylim(floor / 10**0.5, 3.0)


def draw_loss(axes: Axes, traces: Traces, rows: Rows, x: LossAxis) -> None:
    """Draw the smoothed training loss against measured time or sequential steps of the backward passes.

    Lines are means over repeats. A band of a deviation is drawn for the first row alone: it is that of first weights
    and images, which all methods share.
    """
    axes.set(yscale="log", xscale="log", xlabel=_LOSS_AXES[x], ylabel="training loss, smoothed")
    style_axes(axes)
    if x == "seconds":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_seconds(value)))
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else ""))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for i, (row, (colour, marker, dashes)) in enumerate(_styled([row for row in rows if row["label"] in traces])):
        trace = traces[row["label"]]
        place = np.cumsum(np.median(trace[x], axis=0))
        mean, deviation = trace["smoothed"].mean(axis=0), trace["smoothed"].std(axis=0)
        line: dict[str, Any] = {"color": colour, "ls": dashes, "lw": 1.6}
        axes.plot(place, mean, label=_loss_legend(row, place[-1], x), **line)
        axes.plot(place[-1:], mean[-1:], color=colour, marker=marker, ms=8, mec="white", mew=0.8, zorder=4)
        if i == 0:
            low = np.maximum(mean - deviation, trace["smoothed"].min(axis=0))
            axes.fill_between(place, low, mean + deviation, color=colour, alpha=0.12, lw=0)


def _error_points(trace: Mapping[str, np.ndarray]) -> Float[np.ndarray, "S 4"]:
    """Steps, mean error, and the ends of the band."""
    error = np.asarray(trace["error"], float)
    mean, deviation = error.mean(axis=1), error.std(axis=1)
    low, high = np.maximum(mean - deviation, error.min(axis=1)), np.minimum(mean + deviation, error.max(axis=1))
    points = np.stack([np.asarray(trace["num_steps"], float), mean, low, high], axis=1)
    return points[np.isfinite(points).all(axis=1)]


def _styled(rows: Rows) -> list[tuple[Mapping[str, Any], tuple[Any, str, Any]]]:
    """Each row with its colour, marker and dashes. Rows of one solver have shades of its colour, up to the full one."""
    result = []
    solvers = [row["solver"] for row in rows]
    for i, row in enumerate(rows):
        colour, marker = SOLVER_STYLES.get(row["solver"], _OTHER)
        place, count = solvers[:i].count(row["solver"]), solvers.count(row["solver"])
        paleness = 0.55 * (1 - (place + 1) / count)
        shade = tuple(paleness + (1 - paleness) * channel for channel in to_rgb(colour))
        result.append((row, (shade, marker, _DASHES[place % len(_DASHES)])))
    return result


def _steps_legend(row: Mapping[str, Any]) -> str:
    return f"{row['label']}: {row['num_steps']} steps, {format_seconds(row['run_s']['median'])}"


def _loss_legend(row: Mapping[str, Any], end: float, x: LossAxis) -> str:
    return f"{row['label']}: {format_seconds(end) if x == 'seconds' else f'{end:,.0f} steps'}"


def _write(path: Path, figure: Figure, axes: Axes, title: str) -> None:
    draw_legend(figure, [axes])
    figure.suptitle(title, fontsize=12.5, fontweight="bold", color=INK, x=0.01, ha="left")
    save_figure(path, figure)
