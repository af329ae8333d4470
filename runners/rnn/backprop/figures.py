"""Pictures of backpropagation by solvers: the gradient's error by step, and the loss by time and by parallel steps.

``rows`` are rows of results.json, ``traces`` the arrays of traces.npz by the label of a row and their name. Of a solve:
num_steps (S,) sequential steps so far and error (S, N), the relative error of each sequence's gradient. Of a training:
smoothed (R, S), seconds (R, S) and num_steps (R, S) for each step of R trainings. The ``draw_*`` functions draw
on axes that the caller has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from runners.plotting.convergence import Rows, Traces, mark_zero, zero_floor
from runners.plotting.scales import drawn_steps, said_steps
from runners.plotting.style import DASHES, FAINT, number_between, panel_figure, solver_style, style_axes
from runners.report.published import BACKPROP_SWEEPS
from runners.report.units import format_seconds

LossAxis: TypeAlias = Literal["seconds", "num_steps"]

_LOSS_AXES = {"seconds": "measured training time", "num_steps": "sequential steps of all backward passes so far"}


def gradient_error_figure(traces: Traces, rows: Rows, title: str, num_equations: int) -> Figure:
    """Draw ``draw_gradient_error`` with a title and a legend."""
    return panel_figure(9, 5.2, title, lambda axes: draw_gradient_error(axes, traces, rows, num_equations))


def loss_figure(traces: Traces, rows: Rows, title: str, x: LossAxis) -> Figure:
    """Draw ``draw_loss`` with a title and a legend."""
    return panel_figure(9, 5.2, title, lambda axes: draw_loss(axes, traces, rows, x))


def draw_gradient_error(axes: Axes, traces: Traces, rows: Rows, num_equations: int) -> None:
    """Draw the relative error of the gradient by sequential step: the mean over sequences, and a band of a deviation.

    The band goes no further than the best and the worst sequence. Errors of exactly zero stand on a line of their own.
    """
    points = {row["label"]: _error_points(row, traces[row["label"]]) for row in rows if row["label"] in traces}
    values = np.concatenate([found[:, 1:].ravel() for found in points.values()]) if points else np.zeros(0)
    floor = zero_floor(values)
    axes.set(xscale="log", yscale="log", xlabel="sequential steps", ylabel=r"max $|g - g^*|$ / max $|g^*|$")
    style_axes(axes)
    axes.axvspan(*BACKPROP_SWEEPS, color="#f0e6c8", lw=0, zorder=0)
    place = (math.sqrt(math.prod(BACKPROP_SWEEPS)), 0.12)
    said = "published:\n{} to {}".format(*BACKPROP_SWEEPS)
    axes.text(*place, said, ha="center", fontsize=8, color=FAINT, transform=axes.get_xaxis_transform())
    if floor:
        mark_zero(axes, floor)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"$10^{{{round(math.log10(y))}}}$" if y > floor else "0"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    for row, (colour, marker, dashes) in _styled([row for row in rows if row["label"] in points]):
        x, mean, low, high = np.maximum(points[row["label"]], [0.0, floor, floor, floor]).T
        line: dict[str, Any] = {"color": colour, "marker": marker, "ls": dashes, "lw": 1.6, "ms": 4, "markevery": 0.07}
        axes.plot(x, mean, drawstyle="steps-post", label=_steps_legend(row), **line)
        axes.plot(x[-1:], mean[-1:], color=colour, marker=marker, ms=8, mec="white", mew=0.8, zorder=4)
        axes.fill_between(x, low, high, step="post", color=colour, alpha=0.15, lw=0)
    axes.set_xlim(0.9, 1.15 * max(num_equations, BACKPROP_SWEEPS[1]))
    axes.set_ylim(floor / 10**0.5 or None, 3.0)


def draw_loss(axes: Axes, traces: Traces, rows: Rows, x: LossAxis) -> None:
    """Draw the smoothed training loss against measured time or sequential steps of the backward passes.

    Lines are means over trainings. A band of a deviation is drawn for the first row alone: it is that of first weights
    and images, which all methods share.
    """
    axes.set(yscale="log", xscale="log", xlabel=_LOSS_AXES[x], ylabel="training loss, smoothed")
    style_axes(axes)
    say = format_seconds if x == "seconds" else "{:,.0f}".format
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: say(value)))
    number_between(axes.xaxis, say)
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else ""))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for i, (row, (colour, marker, dashes)) in enumerate(_styled([row for row in rows if row["label"] in traces])):
        trace = traces[row["label"]]
        place = np.cumsum(np.median(trace[x], axis=0))
        place = drawn_steps(row, place) if x == "num_steps" else place
        mean, deviation = trace["smoothed"].mean(axis=0), trace["smoothed"].std(axis=0)
        line: dict[str, Any] = {"color": colour, "ls": dashes, "lw": 1.6}
        axes.plot(place, mean, label=_loss_legend(row, place[-1], x), **line)
        axes.plot(place[-1:], mean[-1:], color=colour, marker=marker, ms=8, mec="white", mew=0.8, zorder=4)
        if i == 0:
            low = np.maximum(mean - deviation, trace["smoothed"].min(axis=0))
            axes.fill_between(place, low, mean + deviation, color=colour, alpha=0.12, lw=0)


def _error_points(row: Mapping[str, Any], trace: Mapping[str, np.ndarray]) -> Float[np.ndarray, "S 4"]:
    """Steps, mean error, and the ends of the band."""
    error = np.asarray(trace["error"], float)
    mean, deviation = error.mean(axis=1), error.std(axis=1)
    low, high = np.maximum(mean - deviation, error.min(axis=1)), np.minimum(mean + deviation, error.max(axis=1))
    points = np.stack([drawn_steps(row, trace["num_steps"]), mean, low, high], axis=1)
    return points[np.isfinite(points).all(axis=1)]


def _styled(rows: Rows) -> list[tuple[Mapping[str, Any], tuple[Any, str, Any]]]:
    """Each row with its colour, marker and dashes. Rows of one solver have shades of its colour, up to the full one."""
    result, solvers = [], [row["solver"] for row in rows]
    for i, row in enumerate(rows):
        colour, marker = solver_style(row["solver"])
        place, count = solvers[:i].count(row["solver"]), solvers.count(row["solver"])
        paleness = 0.55 * (1 - (place + 1) / count)
        shade = tuple(paleness + (1 - paleness) * channel for channel in to_rgb(colour))
        result.append((row, (shade, marker, DASHES[place % len(DASHES)])))
    return result


def _steps_legend(row: Mapping[str, Any]) -> str:
    return f"{row['label']}: {said_steps(row)}, {format_seconds(row['run_s']['median'])}"


def _loss_legend(row: Mapping[str, Any], end: float, x: LossAxis) -> str:
    steps = f"{end:,.0f} steps" + (", of its chains" if "chain_length" in row else "")
    return f"{row['label']}: {format_seconds(end) if x == 'seconds' else steps}"
