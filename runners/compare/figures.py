"""The picture of a comparison: the time of each row over that of the first run, and its steps in every run.

``record`` is an entry of ``comparisons`` in the results.json of a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from runners.plotting.style import FAINT, INK, draw_legend, new_figure, set_title, style_axes

_COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = ("o", "D", "^", "v", "P", "X", "s")


def comparison_figure(record: Mapping[str, Any]) -> Figure:
    """A line for each row: on the left the ratio of times, on the right steps."""
    names = list(dict.fromkeys(row["row"] for row in record["rows"]))
    figure = new_figure(10, 1.9 + 0.26 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_ratios(left, record, names)
    _draw_steps(right, record, names)
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.4, -0.6)
    draw_legend(figure, [right, left])
    set_title(figure, f"{record['name']}: the runs side by side")
    return figure


def _draw_ratios(axes: Axes, record: Mapping[str, Any], names: list[str]) -> None:
    first = next(iter(record["runs"]))
    style_axes(axes)
    axes.axvline(1.0, color=FAINT, lw=1)
    for run, colour, marker in _others(record):
        found = {row["row"]: row["time_ratio"] for row in record["rows"] if row["run"] == run}
        _draw_points(axes, found, names, marker, color=colour, ms=6, label=run)
    ratios = [row["time_ratio"] for row in record["rows"]]
    _scale(axes, [0.6, 1.6, *ratios], base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:.3g}x"))
    axes.set_xlabel(f"time over that of {first}", color=INK)


def _draw_steps(axes: Axes, record: Mapping[str, Any], names: list[str]) -> None:
    first = next(iter(record["runs"]))
    style_axes(axes)
    mine = {row["row"]: row["num_steps"][0] for row in record["rows"]}
    _draw_points(axes, mine, names, "o", color=_COLOURS[0], mfc="none", ms=9, label=first)
    for run, colour, marker in _others(record):
        found = {row["row"]: row["num_steps"][1] for row in record["rows"] if row["run"] == run}
        _draw_points(axes, found, names, marker, color=colour, ms=5, label=run)
    _scale(axes, [steps for row in record["rows"] for steps in row["num_steps"]], base=10)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps:,.0f}"))
    axes.set_xlabel("steps", color=INK)


def _scale(axes: Axes, values: Sequence[float | None], base: int) -> None:
    """A logarithmic axis between whole powers of a base, which alone have numbers."""
    exponents = [math.log(value, base) for value in values if value] or [0.0]
    axes.set_xscale("log", base=base)
    axes.set_xlim(base ** (math.ceil(min(exponents)) - 1.2), base ** (math.floor(max(exponents)) + 1.2))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_points(axes: Axes, found: Mapping[str, float | None], names: list[str], marker: str, **style: Any) -> None:
    """Mark a number on the line of each row that has one above 0."""
    points = {names.index(name): value for name, value in found.items() if value}
    axes.plot(list(points.values()), list(points), marker, **style)


def _others(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The runs but the first, each with a colour and a marker."""
    runs = list(record["runs"])[1:]
    return [(run, _COLOURS[1 + i % 6], _MARKERS[1 + i % 6]) for i, run in enumerate(runs)]
