"""When solving in parallel pays, in one picture: steps, and time, of systems by their Lyapunov exponents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runners.plotting.scales import drawn_steps
from runners.plotting.style import FAINT, INK, draw_legend, new_figure, set_title, solver_style, style_axes

System: TypeAlias = Mapping[str, Any]  # one of those of results.json
BASELINE = "cached_sequential"


def survey_figure(systems: Sequence[System], title: str) -> Figure:
    """Steps above, times below; a marker is a solver on a system, hollow where it did not converge.

    A system whose exponent is not finite, which forgets all in one step, stands where the smallest do.
    """
    shown = sorted(systems, key=exponent)
    figure = new_figure(max(8.0, 2.0 + 0.5 * len(shown)), 8.4)
    steps, times = figure.subplots(2, 1, sharex=True)
    _draw(steps, shown, lambda each, row: float(drawn_steps(row, row["num_steps"])) / each["num_equations"])
    _draw(times, shown, lambda each, row: row["run_s"]["median"] / _baseline_s(each))
    steps.set_ylabel("steps / T")
    times.set_ylabel("time / that of one compiled loop")
    names = [f"{each['label']}  {exponent(each):+.3f}" for each in shown]
    times.set_xticks(range(len(shown)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8.5)
    times.set_xlabel("systems, by their largest Lyapunov exponent per equation")
    draw_legend(figure, [steps])
    set_title(figure, f"{title}: when does solving in parallel pay?")
    return figure


def exponent(system: System) -> float:
    """The largest Lyapunov exponent; -inf where the records have none that is finite."""
    found = system["lyapunov"]
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else -math.inf


def _baseline_s(system: System) -> float:
    return float(next(row["run_s"]["median"] for row in system["rows"] if row["solver"] == BASELINE))


def _draw(axes: Axes, systems: Sequence[System], height: Callable[[System, System], float]) -> None:
    """A marker for each solver but the baseline on each system, chaotic systems on a ground of their own."""
    style_axes(axes)
    solvers = {row["label"]: row["solver"] for each in systems for row in each["rows"] if row["solver"] != BASELINE}
    for rank, (label, solver) in enumerate(solvers.items()):
        colour, marker = solver_style(solver)
        if solver in list(solvers.values())[:rank]:  # the same with other options
            marker = "P"
        for converged in (True, False):
            points = [
                (rank, height(each, row))
                for rank, each in enumerate(systems)
                for row in each["rows"]
                if row["label"] == label and (row["status"] == "converged") is converged
            ]
            style: dict[str, Any] = {"color": colour, "mec": colour, "mfc": colour if converged else "white"}
            x, y = zip(*points, strict=True) if points else ((), ())
            axes.plot(x, y, ls="none", marker=marker, ms=6, label=label if converged else None, **style)
    stable = sum(exponent(each) < 0 for each in systems)
    axes.set(yscale="log", xlim=(-0.6, len(systems) - 0.4))
    axes.axhline(1, color=FAINT, lw=0.8, ls=(0, (4, 3)))
    if stable < len(systems):
        axes.axvspan(stable - 0.5, len(systems) - 0.4, color="#f6efe9", lw=0, zorder=0)
        axes.text(1, 1.01, "exponent of 0 and above", transform=axes.transAxes, ha="right", fontsize=9, color=INK)
