"""Pictures of convergence, by step and by time.

A solver has the same colour and marker in every picture. The ``draw_*`` functions draw on axes that the caller has;
none touches matplotlib's global state.

``rows`` are the rows of results.json. ``traces`` are the arrays of traces.npz by the label of a row and their name:
num_steps (S,) sequential network evaluations so far, time_s (S,) measured seconds, residual (S,) the forward
difference as the solver itself evaluates it, error (S,) max |x - reference| over the batch, error_mean (S,) the mean
over the batch of each sample's maximum.
Infinity and NaN stand for what is not known. A row without arrays is left out of the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from runners.plotting.scales import drawn_steps, drawn_times, said_steps
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
from runners.report.units import format_seconds

Arrays: TypeAlias = Mapping[str, Shaped[np.ndarray, "..."]]
Traces: TypeAlias = Mapping[str, Arrays]
Rows: TypeAlias = Sequence[Mapping[str, Any]]
XAxis: TypeAlias = Literal["num_steps", "time_s"]

_X_LABELS = {"num_steps": "sequential network evaluations", "time_s": "measured time, up to the median of the runs"}
_MAX_TICKS = 9


def by_label(arrays: Arrays) -> dict[str, dict[str, Shaped[np.ndarray, "..."]]]:
    """The arrays of traces.npz or frames.npz, there named label/name, by label and then by name."""
    grouped: dict[str, dict[str, Shaped[np.ndarray, "..."]]] = {}
    for key, array in arrays.items():
        label, _, name = key.rpartition("/")
        grouped.setdefault(label, {})[name] = array
    return grouped


def to_files(grouped: Traces) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The inverse of ``by_label``, with numbers of 64 bits as 32: that is how files hold them."""
    return {
        f"{label}/{name}": array.astype(np.float32) if array.dtype == np.float64 else array
        for label, arrays in grouped.items()
        for name, array in arrays.items()
    }


def convergence_figure(traces: Traces, rows: Rows, title: str, reference: str, x: XAxis) -> Figure:
    """Error and forward difference against sequential steps or measured seconds, all axes logarithmic.

    ``reference``: the label of the row that errors are measured against.

    Raises ValueError where a row's arrays are not all there, or not one-dimensional and equally long.
    """
    figure = new_figure(10, 4.8)
    left, right = figure.subplots(1, 2, sharex=True)
    draw_error(left, traces, rows, x, reference)
    draw_residual(right, traces, rows, x)
    draw_legend(figure, [left, right])
    set_title(figure, title)
    return figure


def draw_error(axes: Axes, traces: Traces, rows: Rows, x: XAxis, reference: str = "sequential") -> None:
    """Draw the error against ``reference``: a line for the worst sample, a shade from there to the batch's mean.

    Points where the error is exactly zero stand on a line of their own, labelled 0, below the logarithmic axis.
    """
    axes.set_title(f"error against {reference}", fontsize=10.5, color=INK, loc="left")
    _draw(axes, traces, rows, x, "error", r"max $|x - \mathrm{reference}|$", shade="error_mean")


def draw_residual(axes: Axes, traces: Traces, rows: Rows, x: XAxis) -> None:
    """Draw the forward difference of the solvers that know it: the largest change that the next step makes.

    A solver evaluates it itself, of a block or of all equations; what tables have is max |F(x) - x| of a whole sweep.
    """
    axes.set_title("forward difference", fontsize=10.5, color=INK, loc="left")
    _draw(axes, traces, rows, x, "residual", "largest change in the next step")


def _draw(axes: Axes, traces: Traces, rows: Rows, x: XAxis, y: str, label: str, shade: str | None = None) -> None:
    """Draw one quantity of every row that has it."""
    traced = [row for row in rows if row["label"] in traces]
    points = [(row, _points(row, traces[row["label"]], x, y, shade or y)) for row in traced]
    points = [(row, found) for row, found in points if len(found)]
    values = np.concatenate([found[:, 1] for _, found in points]) if points else np.zeros(0)
    floor = zero_floor(values)
    _style(axes, values, floor, x, label)
    if not points:
        axes.text(0.5, 0.5, "not known for these solvers", transform=axes.transAxes, ha="center", color=FAINT)
    solvers = [row["solver"] for row, _ in points]
    for i, (row, found) in enumerate(points):
        dashes = DASHES[solvers[:i].count(solvers[i]) % len(DASHES)]
        _draw_row(axes, row, np.maximum(found, [0.0, floor, floor]), dashes)


def _draw_row(axes: Axes, row: Mapping[str, Any], points: Float[np.ndarray, "S 3"], dashes: Any) -> None:
    """Draw a row's points (x, y, lower end of the shade) and mark the last."""
    x, height, low = points.T
    colour, marker = solver_style(row["solver"])
    took = f", {format_seconds(row['run_s']['median'])}" if row.get("run_s") else ""
    style: dict[str, Any] = {"color": colour, "marker": marker}
    # Nothing is known between two iterations: the value stays what it was, so the line is a staircase.
    line: dict[str, Any] = {"drawstyle": "steps-post", "ls": dashes, "lw": 1.6, "ms": 4, "markevery": 0.07}
    axes.plot(x, height, **style, **line, label=f"{row['label']}: {said_steps(row)}{took}")
    # The end is a larger marker, hollow where it is all there is, so that it does not hide another's end.
    end: dict[str, Any] = {"mfc": "none", "mec": colour, "mew": 1.6} if len(x) == 1 else {"mec": "white", "mew": 0.8}
    axes.plot(x[-1:], height[-1:], ms=8, zorder=4, **style, **end)
    axes.fill_between(x, low, height, step="post", color=colour, alpha=0.10, lw=0)


def _points(row: Mapping[str, Any], trace: Arrays, x: XAxis, y: str, shade: str) -> Float[np.ndarray, "S 3"]:
    """The points of a row that a logarithmic x axis can show and whose y is known: x, y, lower end of the shade."""
    label, names = row["label"], (x, y, shade)
    missing = [name for name in names if name not in trace]
    if missing:
        raise ValueError(f"the trace of {label} has no {missing[0]!r}; it has: {', '.join(sorted(trace))}")
    arrays = [np.asarray(trace[name], float) for name in names]
    if arrays[0].ndim != 1 or len({array.shape for array in arrays}) != 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(names, arrays, strict=True))
        raise ValueError(f"the trace of {label} must be one-dimensional and equally long arrays, not {shapes}")
    place = (drawn_times if x == "time_s" else drawn_steps)(row, arrays[0])
    points = np.stack([place, *arrays[1:]], axis=1)
    return points[np.isfinite(points).all(axis=1) & (points[:, 0] > 0)]


def zero_floor(values: Float[np.ndarray, " S"]) -> float:
    """The power of ten on which exact zeros are drawn: one or more below all other values; 0 where there is none."""
    if not (values == 0).any():
        return 0.0
    return float(10.0 ** (math.floor(math.log10(min(values[values > 0], default=1.0))) - 1))


def _style(axes: Axes, values: Float[np.ndarray, " S"], floor: float, x: XAxis, label: str) -> None:
    """Logarithmic axes with a tick at every few powers of ten, and the lowest labelled 0 where it stands for that."""
    axes.set(xscale="log", yscale="log", xlabel=_X_LABELS[x])
    axes.set_ylabel(label)
    style_axes(axes)
    heights = np.maximum(values, floor)
    low, high = (math.floor(math.log10(min(heights))), math.ceil(math.log10(max(heights)))) if len(heights) else (-1, 0)
    high = max(high, low + 1)
    ticks = [10.0**power for power in range(low, high + 1, -(-(high - low) // _MAX_TICKS))]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: "0" if y <= floor * 1.01 else f"$10^{{{round(math.log10(y))}}}$")
    )
    say = format_seconds if x == "time_s" else "{:g}".format
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: say(place)))
    number_between(axes.xaxis, say)
    axes.set_ylim(10.0 ** (low - 0.4), 2 * max(heights, default=10.0**high))
    if floor:
        mark_zero(axes, floor)


def mark_zero(axes: Axes, floor: float) -> None:
    """Shade a band around the height on which exact zeros are drawn, and say what it is."""
    axes.axhspan(floor / 10**0.5, floor * 10**0.5, color="#f3f3f3", lw=0, zorder=0)
    axes.text(0.01, floor * 10**0.12, "exactly 0", transform=axes.get_yaxis_transform(), fontsize=8, color=FAINT)
