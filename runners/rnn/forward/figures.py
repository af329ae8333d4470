"""Pictures of forward passes: growth with length and state size, and Newton's steps against the Lyapunov exponent.

``experiments`` are those of results.json. The ``draw_*`` functions draw on axes that the caller has. A solver looks as
in every picture; a hollow marker is a run that did not converge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from runners.plotting.scales import drawn_steps
from runners.plotting.style import (
    FAINT,
    INK,
    draw_legend,
    new_figure,
    panel_figure,
    set_title,
    solver_style,
    style_axes,
)
from runners.report.units import format_bytes, format_seconds

Experiments: TypeAlias = Sequence[Mapping[str, Any]]
GrowthAxis: TypeAlias = Literal["num_equations", "state_size"]
Quantity: TypeAlias = Literal["time", "steps", "memory"]

# Of points in the picture of exponents, by length.
_LENGTHS = (("#0072b2", "o"), ("#e69f00", "s"), ("#009e73", "D"), ("#cc79a7", "^"), ("#d55e00", "v"), ("#000000", "P"))
_X_LABELS = {"num_equations": "sequence length T", "state_size": "state size (hidden units)"}


class _Height(NamedTuple):
    """A quantity on the y axis."""

    label: str
    of: Callable[[Mapping[str, Any]], float | None]  # a row of results.json
    say: Callable[[float], str]
    tick: float  # from one tick to the next, a factor


_HEIGHTS = {
    "time": _Height("time to solve, median", lambda row: row["run_s"]["median"], format_seconds, 10.0),
    "steps": _Height(
        "steps, one after the other", lambda row: float(drawn_steps(row, row["num_steps"])), "{:,.0f}".format, 10.0
    ),
    "memory": _Height("memory of the compiled program", lambda row: row["peak_memory_bytes"], format_bytes, 4.0),
}


def growth_figure(experiments: Experiments, x: GrowthAxis, y: Quantity, title: str) -> Figure:
    """Draw one panel for each cell that was run at several values of ``x``, both axes logarithmic."""
    panels = cells_along(experiments, x)
    figure = new_figure(max(7.6, 1.0 + 4.2 * len(panels)), 5.2)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for panel, (cell, chosen) in zip(axes, panels.items(), strict=True):
        draw_growth(panel, chosen, x, y)
        first = chosen[0]
        fixed = f"state size {first['state_size']}" if x == "num_equations" else f"T = {first['num_equations']:,}"
        panel.set_title(f"{cell}, {fixed}", fontsize=10.5, color=INK, loc="left")
        panel.label_outer()
    draw_legend(figure, list(axes))
    set_title(figure, f"{title}: {_HEIGHTS[y].label}")
    return figure


def lyapunov_figure(experiments: Experiments, title: str, solver: str = "newton") -> Figure:
    """Draw ``draw_lyapunov`` with a title and a legend."""
    words = f"{title}: when does solving in parallel pay?"
    return panel_figure(7.6, 5.2, words, lambda axes: draw_lyapunov(axes, experiments, solver))


def cells_along(experiments: Experiments, x: GrowthAxis) -> dict[str, list[Mapping[str, Any]]]:
    """For each cell its experiments that differ in ``x`` alone, in its order.

    Cells that were run at one value of ``x`` only are left out, unless there are no others.
    """
    other = "state_size" if x == "num_equations" else "num_equations"
    found: dict[str, list[Mapping[str, Any]]] = {}
    for cell in dict.fromkeys(experiment["cell"] for experiment in experiments):
        mine = [experiment for experiment in experiments if experiment["cell"] == cell]
        rows = [[e for e in mine if e[other] == value] for value in dict.fromkeys(e[other] for e in mine)]
        longest = max(rows, key=len)
        found[cell] = sorted(longest, key=lambda experiment: experiment[x])
    return {cell: chosen for cell, chosen in found.items() if len(chosen) > 1} or found


def draw_growth(axes: Axes, experiments: Experiments, x: GrowthAxis, y: Quantity) -> None:
    """Draw one cell: a line for each solver, through the runs that converged."""
    heights: list[float] = []
    solvers = {row["label"]: row["solver"] for experiment in experiments for row in experiment["rows"]}
    for label, solver in solvers.items():
        points = _points(experiments, label, x, y)
        if points:
            heights += [height for _, height, _ in points]
            _draw_solver(axes, solver, label, points)
    if any(row["status"] != "converged" for experiment in experiments for row in experiment["rows"]):
        _explain_hollow(axes)
    style_axes(axes)
    axes.set(xscale="log", yscale="log", xlabel=_X_LABELS[x], ylabel=_HEIGHTS[y].label)
    values = sorted({experiment[x] for experiment in experiments})
    powers = [10**n for n in range(12) if values[0] <= 10**n <= values[-1]]
    axes.xaxis.set_major_locator(FixedLocator(powers if x == "num_equations" and len(powers) > 1 else values))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    if y == "steps" and x == "num_equations":
        axes.plot(values, values, color=FAINT, lw=0.8, ls=(0, (4, 3)), zorder=1)
        axes.annotate("T", (values[-1], values[-1]), (4, 0), textcoords="offset points", fontsize=9, color=FAINT)
    _ticks(axes, heights, y)


def draw_lyapunov(axes: Axes, experiments: Experiments, solver: str = "newton") -> None:
    """Draw the solver's steps, as a part of T, against the largest Lyapunov exponent, a point for each experiment."""
    points = [
        (experiment["lyapunov"], row["num_iterations"] / experiment["num_equations"], experiment["num_equations"], row)
        for experiment in experiments
        for row in experiment["rows"]
        if row["solver"] == solver
        and isinstance(experiment["lyapunov"], float)
        and math.isfinite(experiment["lyapunov"])
    ]
    style_axes(axes)
    axes.set(yscale="log", xlabel="largest Lyapunov exponent, per step", ylabel=f"steps of {solver} / T")
    axes.axvline(0, color=FAINT, lw=0.8)
    for rank, length in enumerate(sorted({point[2] for point in points})):
        colour, marker = _LENGTHS[rank % len(_LENGTHS)]
        for converged in (True, False):
            chosen = [p for p in points if p[2] == length and (p[3]["status"] == "converged") is converged]
            style: dict[str, Any] = {"marker": marker, "ms": 7, "mec": colour, "mfc": colour if converged else "white"}
            label = f"T = {length:,}" if converged else None
            axes.plot([p[0] for p in chosen], [p[1] for p in chosen], ls="none", label=label, **style)
    if points:
        if any(row["status"] != "converged" for *_, row in points):
            _explain_hollow(axes)
        axes.axhline(1, color=FAINT, lw=0.8, ls=(0, (4, 3)))
        left, right = min(p[0] for p in points), max(p[0] for p in points)
        axes.set_xlim(min(left, -0.1) * 1.08, max(right, 0.1) * 1.15)
        axes.axvspan(0, axes.get_xlim()[1], color="#f6efe9", lw=0, zorder=0)
        axes.text(0.99, 0.02, "chaotic", transform=axes.transAxes, ha="right", fontsize=9, color=FAINT)
    else:
        axes.text(0.5, 0.5, f"{solver} was not run", transform=axes.transAxes, ha="center", color=FAINT)


def _points(experiments: Experiments, label: str, x: GrowthAxis, y: Quantity) -> list[tuple[float, float, bool]]:
    """(x, y, converged) of one row of every experiment that has it and knows y."""
    points = []
    for experiment in experiments:
        for row in experiment["rows"]:
            height = _HEIGHTS[y].of(row)
            if row["label"] == label and height:
                points.append((float(experiment[x]), float(height), row["status"] == "converged"))
    return points


def _draw_solver(axes: Axes, solver: str, label: str, points: Sequence[tuple[float, float, bool]]) -> None:
    colour, marker = solver_style(solver)
    done = [(x, y) for x, y, converged in points if converged]
    rest = [(x, y) for x, y, converged in points if not converged]
    style: dict[str, Any] = {"color": colour, "marker": marker, "ms": 6, "mec": colour}
    axes.plot([x for x, _ in done], [y for _, y in done], lw=1.6, label=label, **style)
    hollow: dict[str, Any] = {"mfc": "white", "mew": 1.2, "ls": ":", "lw": 0.8, "zorder": 2.5}
    axes.plot([x for x, _ in rest], [y for _, y in rest], **style, **hollow)


def _explain_hollow(axes: Axes) -> None:
    """An entry of the legend."""
    axes.plot([], [], ls="none", marker="o", ms=6, mfc="white", mec=FAINT, label="hollow: did not converge")


def _ticks(axes: Axes, heights: Sequence[float], y: Quantity) -> None:
    """Ticks at powers of ten, or for bytes of four, with their units."""
    base, say = _HEIGHTS[y].tick, _HEIGHTS[y].say
    low, high = (math.floor(math.log(pick(heights), base)) for pick in (min, max)) if heights else (0, 1)
    axes.yaxis.set_major_locator(FixedLocator([base**power for power in range(low - 1, high + 3)]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: say(value)))
