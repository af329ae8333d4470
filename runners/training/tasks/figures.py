"""Pictures of what models make while they train: a classifier's errors, and sound beside the clip."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from runners.plotting.audio import compare_audio
from runners.plotting.style import FAINT, INK, new_figure, set_title

_MOST = 40  # wrong images in the picture: the first ones
_DARKEST = 5  # wrong answers of a kind at which the colour is full, where there are no more
_MAX_NUMBERS = 20  # classes up to which the counts are written into the cells


def errors_figure(
    images: UInt8[np.ndarray, "N H W C"],
    labels: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, " N"],
    confusions: Int[np.ndarray, "K K"],
) -> Figure:
    """How many images of a class (row) are taken for which (column), and the first images that are wrong."""
    figure = new_figure(13, 5.6)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.35))[0]
    draw_confusions(left.subplots(), confusions)
    wrong = np.flatnonzero(predicted != labels)
    captions = [f"{labels[i]} as {predicted[i]}" for i in wrong]
    _draw_images(right, images[wrong], captions)
    total = len(labels)
    set_title(figure, f"{len(wrong)} of {total} held-out images wrong: {1 - len(wrong) / total:.2%} right")
    return figure


def draw_confusions(axes: Axes, counts: Int[np.ndarray, "K K"]) -> None:
    """Draw counts off the diagonal in colour, all of them in numbers where there is room."""
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


def continuation_figure(
    made: Mapping[str, Float[np.ndarray, " T"]], clip: Float[np.ndarray, " N"], prompt: int, sample_rate: int
) -> Figure:
    """Sounds by the name of how they were made, below the clip whose first ``prompt`` samples they begin with."""
    length = max(map(len, made.values()))
    given = f"its first {1e3 * prompt / sample_rate:g} ms" if prompt else "nothing"
    clips = {"training clip": clip[:length], **made}
    return compare_audio(clips, sample_rate, f"A clip, and what its model makes of {given}")


def _draw_images(figure: SubFigure, images: UInt8[np.ndarray, "N H W C"], captions: list[str]) -> None:
    """Draw the first images, each below its caption."""
    shown = images[:_MOST]
    columns = min(8, max(4, math.ceil(math.sqrt(1.6 * len(shown)))))
    panels = figure.subplots(max(3, -(-len(shown) // columns)), columns)
    for axes in panels.flat:
        axes.axis("off")
    for axes, image, caption in zip(panels.flat, shown, captions, strict=False):
        axes.imshow(image.squeeze(), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(caption, fontsize=8.5, color=INK, pad=2)
    more = len(images) - len(shown)
    figure.supxlabel(f"{more} more are in results.json" if more else "", fontsize=9, color=FAINT)
