"""How every picture looks: figures, axes, titles and legends, and a colour, a marker and dashes for each solver."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogFormatter

INK, FAINT, GRID = "#222222", "#666666", "#e4e4e4"

# Okabe and Ito's palette for the solvers that are often seen together, Tol's muted one for the rest: both can be told
# apart with any colour vision; the markers are for print without colours.
SOLVER_STYLES: dict[str, tuple[str, str]] = {
    "sequential": ("#000000", "o"),
    "cached_sequential": ("#8a8a8a", "s"),
    "jacobi": ("#0072b2", "D"),
    "gs_jacobi": ("#d55e00", "^"),
    "sliding_gs_jacobi": ("#aa4499", "8"),
    "jacobi_gs": ("#009e73", "v"),
    "segmented": ("#ddaa33", "$S$"),
    "anderson": ("#cc79a7", "P"),
    "triangular_anderson": ("#44aa99", "*"),
    "newton": ("#e69f00", "X"),
    "quasi_newton": ("#56b4e9", "<"),
    "picard": ("#882255", ">"),
    "elk": ("#332288", "p"),
    "quasi_elk": ("#999933", "h"),
    "windowed": ("#7f5f00", "$W$"),
    "parareal": ("#ee8866", "4"),
    "parallel_scan": ("#661100", "d"),
    "dense_newton": ("#117733", "H"),
}
OTHER_STYLE = ("#444444", ".")
_TITLE_LETTER = 0.115  # inches: how wide a letter of a title is, about
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1, 1, 1, 1, 1)))


def new_figure(width: float, height: float) -> Figure:
    """A white figure of so many inches that does not touch matplotlib's global state."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panel_figure(width: float, height: float, title: str, draw: Callable[[Axes], None]) -> Figure:
    """A figure of one panel that ``draw`` draws on, with a title above and a legend below."""
    figure = new_figure(width, height)
    axes = figure.subplots()
    draw(axes)
    draw_legend(figure, [axes])
    set_title(figure, title)
    return figure


def style_axes(axes: Axes) -> None:
    """Two faint spines, a grid behind what is drawn."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)


def number_between(axis: Axis, say: Callable[[float], str]) -> None:
    """On a logarithmic axis that has two powers of ten at most, number twice and five times these too, and no more."""

    def shown(value: float, _: Any) -> str:
        low, high = axis.get_view_interval()
        return say(value) if high < 100 * low and f"{value:.0e}"[0] in "25" else ""

    axis.set_minor_formatter(FuncFormatter(shown))
    axis.set_tick_params(which="minor", labelsize=9, labelcolor=INK)


def solver_style(solver: str) -> tuple[str, str]:
    """The colour and the marker of a solver, by its name in results.json."""
    return SOLVER_STYLES.get(solver, OTHER_STYLE)


def set_title(figure: Figure, title: str) -> None:
    """Put a title at the top left of a figure, in as many lines as it needs."""
    width = int(figure.get_figwidth() / _TITLE_LETTER)
    shown = title if len(title) <= width else textwrap.fill(title, width)
    figure.suptitle(shown, fontsize=12.5, fontweight="bold", color=INK, x=0.01, ha="left")


def png(figure: Figure) -> bytes:
    """The figure as the content of a PNG file.

    Its words are shown as they are: a user's name may hold a $, which begins a formula to matplotlib. The labels of
    axes and the numbers at them, where a function writes these, are the only formulas.
    """
    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    numbered = [axis for axis in axes if isinstance(axis.get_major_formatter(), FuncFormatter | LogFormatter)]
    formulas = {label for axis in numbered for label in axis.get_ticklabels(which="both")}
    formulas |= {axis.label for axis in axes}
    for text in figure.findobj(Text):
        if text not in formulas:
            text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def draw_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend below the panels for all that is drawn on them."""
    entries: dict[str, Any] = {}
    for panel in axes:
        for line, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, line)
    if entries:
        # Inches of a column at 9 points: the line with its gaps, and about 0.075 for each letter.
        column = 0.65 + 0.075 * max(map(len, entries))
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=max(1, min(len(entries), 4, int(figure.get_figwidth() / column))),
            frameon=False,
            fontsize=9,
            handlelength=3.2,
        )
