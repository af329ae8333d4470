"""The picture of a classifier's training with several solvers: losses by step, accuracy by epoch.

``rows`` are rows of results.json, ``losses`` the arrays of losses.npz by the label of a row: nats, (S,) by step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runners.plotting.convergence import Rows
from runners.plotting.style import DASHES, INK, new_figure, set_title, solver_style, style_axes

_SMOOTHING = 20


def classifier_figure(rows: Rows, losses: Mapping[str, Float[np.ndarray, " S"]], title: str) -> Figure:
    """Draw both. Curves that agree lie on each other, so each is drawn thinner than the one below it."""
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    for i, row in enumerate(rows):
        colour, marker = solver_style(row["solver"])
        style = {"color": colour, "ls": DASHES[i % len(DASHES)], "lw": max(1.2, 4.0 - 1.3 * i), "label": row["label"]}
        _draw_loss(left, losses[row["label"]], style)
        accuracy = 100 * np.asarray(row["held_out_accuracy"])
        right.plot(np.arange(len(accuracy)) + 1, accuracy, marker=marker, **style)
    left.set(xlabel="training step", ylabel="cross-entropy (nats)", yscale="log")
    left.set_title(f"loss, mean of {_SMOOTHING} steps", fontsize=10.5, loc="left", color=INK)
    right.set(xlabel="epoch", ylabel="%")
    right.set_title("held-out accuracy", fontsize=10.5, loc="left", color=INK)
    for axes in (left, right):
        style_axes(axes)
    left.legend(frameon=False, fontsize=9)
    set_title(figure, title)
    return figure


def _draw_loss(axes: Axes, losses: Float[np.ndarray, " S"], style: Mapping[str, Any]) -> None:
    width = min(_SMOOTHING, len(losses))
    smooth = np.convolve(losses, np.full(width, 1.0 / width), mode="valid")
    axes.plot(np.arange(len(smooth)) + width, smooth, **style)
