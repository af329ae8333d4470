"""When solving in parallel pays, in one picture: steps, and time, over the largest Lyapunov exponent of each system."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runners.plotting.style import FAINT, INK, draw_legend, new_figure, set_title, solver_style, style_axes

_LINEAR = 0.01  # between exponents of this size the axis is linear, and logarithmic outside


def survey_figure(systems: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw both panels; a marker is a solver on a system, hollow where it did not converge.

    ``systems`` are those of results.json. One without a finite exponent is left out.
    """
    shown = sorted(
        (each for each in systems if isinstance(each["lyapunov"], float) and math.isfinite(each["lyapunov"])),
        key=lambda each: float(each["lyapunov"]),
    )
    figure = new_figure(12, 6.4)
    steps, times = figure.subplots(1, 2, sharex=True)
    _draw(steps, shown, lambda each, row: row["num_steps"] / each["num_equations"])
    _draw(times, shown, lambda each, row: row["run_s"]["median"] / _scan(each))
    steps.set_ylabel("steps / T")
    times.set_ylabel("time / time of one compiled loop")
    for rank, each in enumerate(shown):
        lowest = min(row["num_steps"] for row in each["rows"] if row["status"] == "converged") / each["num_equations"]
        place = {"rotation": 90, "ha": "center", "va": "top", "fontsize": 7.5, "color": FAINT}
        steps.annotate(
            each["label"], (each["lyapunov"], lowest), (0, -8 - 3 * (rank % 2)), textcoords="offset points", **place
        )
    draw_legend(figure, [steps])
    set_title(figure, f"{title}: when does solving in parallel pay?")
    return figure


def _scan(each: Mapping[str, Any]) -> float:
    return float(next(row["run_s"]["median"] for row in each["rows"] if row["solver"] == "cached_sequential"))


def _draw(axes: Axes, systems: Sequence[Mapping[str, Any]], height: Any) -> None:
    """A marker for each solver on each system, against the system's exponent."""
    style_axes(axes)
    labels = {row["label"]: row["solver"] for each in systems for row in each["rows"]}
    for label, solver in labels.items():
        if solver == "cached_sequential":
            continue
        colour, marker = solver_style(solver)
        for converged in (True, False):
            points = [
                (each["lyapunov"], height(each, row))
                for each in systems
                for row in each["rows"]
                if row["label"] == label and (row["status"] == "converged") is converged
            ]
            filled = {"color": colour, "mec": colour, "mfc": colour if converged else "white"}
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(x, y, ls="none", marker=marker, ms=6, label=label if converged else None, **filled)
    axes.set_xscale("symlog", linthresh=_LINEAR)
    axes.set_yscale("log")
    axes.set_xlabel("largest Lyapunov exponent, per equation")
    axes.axhline(1, color=FAINT, lw=0.8, ls=(0, (4, 3)))
    axes.axvline(0, color=FAINT, lw=0.8)
    axes.axvspan(0, axes.get_xlim()[1], color="#f6efe9", lw=0, zorder=0)
    axes.text(0.99, 0.98, "chaotic", transform=axes.transAxes, ha="right", va="top", fontsize=9, color=INK)
