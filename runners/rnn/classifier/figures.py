"""The picture of a classifier's training with several solvers: losses by step, accuracy by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from runners.plotting.style import INK, SOLVER_STYLES, new_figure, save_figure, style_axes

_SMOOTHING = 20
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))


@dataclass(frozen=True)
class Curve:
    """One solver's training."""

    label: str
    solver: str
    losses: Float[np.ndarray, " steps"]  # nats
    accuracy: Sequence[float]  # held out, after each epoch


def training_curves(path: Path, curves: Sequence[Curve], title: str) -> None:
    """Write the picture. Curves that agree lie on each other, so each is drawn thinner than the one below it."""
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    for i, curve in enumerate(curves):
        colour, marker = SOLVER_STYLES[curve.solver]
        style = {"color": colour, "ls": _DASHES[i % 4], "lw": max(1.2, 4.0 - 1.3 * i), "label": curve.label}
        width = min(_SMOOTHING, len(curve.losses))
        smooth = np.convolve(curve.losses, np.full(width, 1.0 / width), mode="valid")
        left.plot(np.arange(len(smooth)) + width, smooth, **style)
        right.plot(np.arange(len(curve.accuracy)) + 1, np.asarray(curve.accuracy) * 100, marker=marker, **style)
    left.set(xlabel="training step", ylabel="cross-entropy (nats)", yscale="log")
    left.set_title(f"loss, mean of {_SMOOTHING} steps", fontsize=10.5, loc="left", color=INK)
    right.set(xlabel="epoch", ylabel="%")
    right.set_title("held-out accuracy", fontsize=10.5, loc="left", color=INK)
    for axes in (left, right):
        style_axes(axes)
    left.legend(frameon=False, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold", color=INK)
    save_figure(path, figure)
