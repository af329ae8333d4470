"""Draw the pictures of the documentation: ``python -m docs.tools.pictures``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from common.paths import REFERENCE, ROOT
from docs.tools.choice import CHOICE, Advice, Question
from runners.plotting.style import FAINT, INK, new_figure, png, set_title, solver_style, style_axes

PICTURES = ROOT / "docs" / "pictures"

EXACT, NEW, GUESS = "#0072b2", "#56b4e9", "#e8e8e8"  # what is exact, becomes exact in this step, is a guess
ASKED, TOLD = "#fff3d6", "#dcecf7"


@dataclass(frozen=True)
class Place:
    """Where a node of the tree stands: its column, and its height in lines of advice."""

    column: int
    height: float


def choice_figure() -> Figure:
    """The tree of questions that ends at solvers, from left to right."""
    figure = new_figure(17, 8.6)
    axes = figure.subplots()
    axes.set_axis_off()
    leaves = _draw_node(axes, CHOICE, 0, 0.0)[1]
    axes.set(xlim=(-0.3, 4.62), ylim=(leaves - 0.4, -0.6))
    set_title(figure, "Which solver for which system")
    return figure


def _draw_node(axes: Axes, node: Question | Advice, column: int, top: float) -> tuple[Place, float]:
    """Draw a node and all behind it below ``top``; its place, and where the next may begin."""
    if isinstance(node, Advice):
        place = Place(4, top)
        _box(axes, Place(4, top), f"{_wrapped(', '.join(node.solvers), 34)}\n{_wrapped(node.because, 34)}", TOLD)
        return place, top + 1
    below, children = top, []
    for answer, then in node.answers:
        child, below = _draw_node(axes, then, column + 1, below)
        children.append((answer, child))
    place = Place(column, (children[0][1].height + children[-1][1].height) / 2)
    for answer, child in children:
        _branch(axes, place, child, answer)
    _box(axes, place, _wrapped(node.text, 22), ASKED)
    return place, below


def _box(axes: Axes, place: Place, text: str, colour: str) -> None:
    box = {"boxstyle": "round,pad=0.4", "facecolor": colour, "edgecolor": FAINT, "lw": 0.8}
    style: dict[str, Any] = {"fontsize": 10, "color": INK, "bbox": box, "zorder": 3, "va": "center"}
    if place.column == 4:  # advice begins at one line
        axes.text(place.column - 0.2, place.height, text, ha="left", **style)
    else:
        axes.text(place.column, place.height, text, ha="center", **style)


def _branch(axes: Axes, start: Place, end: Place, answer: str) -> None:
    """A line from a question to what follows, and the answer on the stretch before the next column."""
    knee = start.column + 0.36
    axes.plot(
        [start.column, knee, knee, end.column], [start.height, start.height, end.height, end.height], color=FAINT, lw=1
    )
    label = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    middle = start.column + 0.4
    axes.text(middle, end.height, _wrapped(answer, 17), va="center", fontsize=8.5, color=INK, bbox=label, zorder=4)


def _wrapped(text: str, width: int) -> str:
    """The text in lines of at most ``width`` letters, broken at blanks."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def theory_figure() -> Figure:
    """What equations read, when each becomes exact, and how far a real solve was after each of its steps."""
    figure = new_figure(13, 7.6)
    (reads, one, jacobi), (measured, gauss, blocks) = figure.subplots(2, 3, width_ratios=[1.2, 1, 1])
    _draw_reads(reads)
    _draw_schedule(one, "Forward substitution", one_by_one(), "step")
    _draw_schedule(jacobi, "Jacobi, at its slowest", all_at_once(), "step")
    _draw_schedule(gauss, "GS-Jacobi, blocks of 4, at its slowest", blocks_in_order(), "step")
    _draw_schedule(blocks, "Jacobi-GS, blocks of 4, at its slowest", blocks_at_once(), "step, besides a sweep a round")
    _draw_frontier(measured)
    figure.legend(
        [Rectangle((0, 0), 1, 1, facecolor=colour, edgecolor=FAINT) for colour in (EXACT, NEW, GUESS, "white")],
        ["exact before", "exact from this step on", "a guess, evaluated in this step", "not evaluated in this step"],
        loc="outside lower right",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    set_title(figure, "A triangular system, and the order in which solvers make its equations exact")
    return figure


SIZE, BLOCK = 8, 4
State = Int[np.ndarray, "steps equations"]  # 0: not evaluated, 1: a guess, 2: exact from this step on, 3: exact before


def one_by_one() -> State:
    """Forward substitution."""
    return _slowest(lambda t, k: False)


def all_at_once() -> State:
    """Jacobi at its slowest: each step makes one more equation exact."""
    return _slowest(lambda t, k: True)


def blocks_in_order() -> State:
    """GS-Jacobi at its slowest: Jacobi inside the block whose turn it is."""
    return _slowest(lambda t, k: t // BLOCK == k // BLOCK)


def blocks_at_once() -> State:
    """Jacobi-GS at its slowest: each block goes on by one equation in each step."""
    return _slowest(lambda t, k: t % BLOCK == k % BLOCK)


def _slowest(guessed: Callable[[int, int], bool]) -> State:
    """Step k makes equation k exact; of those behind it ``guessed(t, k)`` says which are evaluated."""
    rows = [[3 if t < k else 2 if t == k else int(guessed(t, k)) for t in range(SIZE)] for k in range(SIZE)]
    return np.array(rows)


def _draw_reads(axes: Axes) -> None:
    """The lower triangle: equation t reads the values before it."""
    for t in range(SIZE):
        for s in range(SIZE):
            colour = EXACT if s < t else "#333333" if s == t else "white"
            edge = "white" if s <= t else GUESS
            axes.add_patch(Rectangle((s - 0.5, t - 0.5), 1, 1, facecolor=colour, edgecolor=edge))
    _frame(axes, "Equation t (row) reads x_0 .. x_{t-1} (columns)", "value", "equation")


def _draw_schedule(axes: Axes, title: str, state: State, steps: str) -> None:
    colours = ("white", GUESS, NEW, EXACT)
    for (k, t), value in np.ndenumerate(state):
        axes.add_patch(Rectangle((t - 0.5, k - 0.5), 1, 1, facecolor=colours[value], edgecolor="white"))
    _frame(axes, title, "equation", steps)


def _frame(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5), aspect="equal", xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10, color=INK)
    axes.set(xticks=range(SIZE), yticks=range(SIZE))
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_color(FAINT)


def _draw_frontier(axes: Axes) -> None:
    """The length of the exact prefix by step, of the shipped run of MADE."""
    style_axes(axes)
    with np.load(REFERENCE / "made_sampler" / "traces.npz") as traces:
        for solver in ("sequential", "jacobi", "gs_jacobi"):
            colour, _ = solver_style(solver)
            steps, frontier = traces[f"{solver}/num_steps"], traces[f"{solver}/frontier"]
            axes.plot(steps, frontier, color=colour, lw=1.8, label=f"{solver}: {int(steps[-1])} steps")
    axes.set(xscale="log", xlabel="steps", ylabel="exact equations, of 784")
    axes.set_title("Measured: digits from MADE", fontsize=10, color=INK)
    axes.legend(fontsize=8.5, frameon=False, loc="upper left")


DRAWN = {"which_solver.png": choice_figure, "triangular_system.png": theory_figure}

if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, draw in DRAWN.items():
        (PICTURES / name).write_bytes(png(draw()))
