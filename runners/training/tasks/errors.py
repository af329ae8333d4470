"""What a classifier gets wrong: which classes it takes for which, and the images themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from runners.plotting.style import FAINT, INK, new_figure, save_figure

_MOST = 40  # wrong images in the picture: the first ones
_DARKEST = 5  # wrong answers of a kind at which the colour is full, where there are no more
_MAX_NUMBERS = 20  # classes up to which the counts are written into the cells


@dataclass(frozen=True)
class Errors:
    """A classifier's answers on labelled images. Satisfies Artifact."""

    images: UInt8[np.ndarray, "N H W C"]
    labels: Int[np.ndarray, " N"]
    predicted: Int[np.ndarray, " N"]
    num_classes: int

    @cached_property
    def wrong(self) -> Int[np.ndarray, " M"]:
        """The numbers of the images that it gets wrong."""
        return np.flatnonzero(self.predicted != self.labels)

    @cached_property
    def confusions(self) -> Int[np.ndarray, "K K"]:
        """How many images of a class (row) it takes for which (column)."""
        counts = np.zeros((self.num_classes, self.num_classes), np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    @property
    def record(self) -> dict[str, Any]:
        """The wrong answers, image by image."""
        wrong = [
            {"image": int(i), "label": int(self.labels[i]), "predicted": int(self.predicted[i])} for i in self.wrong
        ]
        return {"num_held_out": len(self.labels), "wrong": wrong}

    def write(self, folder: Path, suffix: str) -> None:
        """errors<suffix>.png: the confusions, and the first images that it gets wrong."""
        figure = new_figure(13, 5.6)
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.35))[0]
        _draw_confusions(left.subplots(), self.confusions)
        self._draw_images(right)
        total = len(self.labels)
        figure.suptitle(
            f"{len(self.wrong)} of {total} held-out images wrong: {1 - len(self.wrong) / total:.2%} right",
            **{"x": 0.01, "ha": "left", "fontsize": 12.5, "fontweight": "bold", "color": INK},
        )
        save_figure(folder / f"errors{suffix}.png", figure)

    def _draw_images(self, figure: SubFigure) -> None:
        shown = self.wrong[:_MOST]
        columns = min(8, max(4, math.ceil(math.sqrt(1.6 * len(shown)))))
        panels = figure.subplots(max(3, -(-len(shown) // columns)), columns)
        for axes in panels.flat:
            axes.axis("off")
        for axes, i in zip(panels.flat, shown, strict=False):
            axes.imshow(self.images[i].squeeze(), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(f"{self.labels[i]} as {self.predicted[i]}", fontsize=8.5, color=INK, pad=2)
        more = len(self.wrong) - len(shown)
        figure.supxlabel(f"{more} more are in results.json" if more else "", fontsize=9, color=FAINT)


def _draw_confusions(axes: Axes, counts: Int[np.ndarray, "K K"]) -> None:
    """Counts off the diagonal in colour, all of them in numbers where there is room."""
    wrong = counts * (1 - np.eye(len(counts), dtype=np.int64))
    darkest = max(_DARKEST, int(wrong.max()))
    axes.imshow(wrong, cmap="Oranges", vmin=0, vmax=darkest)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    if len(counts) > _MAX_NUMBERS:
        return
    axes.set(xticks=range(len(counts)), yticks=range(len(counts)))
    size = min(9.0, 110.0 / len(counts) / math.sqrt(len(str(counts.max()))))
    for (true, predicted), count in np.ndenumerate(counts):
        if count:
            dark = wrong[true, predicted] > 0.6 * darkest
            colour = "white" if dark else FAINT if true == predicted else INK
            axes.text(predicted, true, str(count), ha="center", va="center", fontsize=size, color=colour)
