"""Pictures of sampled sound, and of samples that were found by halves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure

from runners.plotting.audio import compare_audio
from runners.plotting.picture import grid_image
from runners.plotting.style import INK, new_figure, set_title

_DRAWN = 4  # sounds of a batch in the picture
_A_LINE, _SHOWN = 100, 500  # characters of a text in a line, and of all that is shown
_TURNS = ("#cfe3f5", "#fde0c5", "#d5ecd4")  # colours behind characters, in turn
_IN_A_ROW = 10  # images of a batch in a row of theirs


class Clip(NamedTuple):
    """A sound beside which samples are shown."""

    name: str
    samples: Float[np.ndarray, " N"]


class SampledSound(NamedTuple):
    """A batch of sampled sounds in [-1, 1]."""

    prompt: Float[np.ndarray, "B P"]  # what every sample was given to begin with; P may be 0
    samples: Float[np.ndarray, "B T"]  # what the solvers found
    continuation: Float[np.ndarray, "B N"]  # what was generated behind it; N may be 0
    sample_rate: int  # in Hz
    clip: Clip | None  # the sound beside which it is shown, from the time on at which the prompt begins


def sound_figure(sound: SampledSound, title: str) -> Figure:
    """Prompt, samples and continuation in one, with lines where one ends and the next begins, beside the clip."""
    sounds = np.concatenate([sound.prompt, sound.samples, sound.continuation], axis=1)[:_DRAWN]
    parts = {
        "prompt": sound.prompt.shape[1],
        "solved for": sound.samples.shape[1],
        "generated": sound.continuation.shape[1],
    }
    named = ", ".join(name for name, length in parts.items() if length)
    ends = np.cumsum(list(parts.values()))[:-1] / sound.sample_rate
    marks = [float(time) for time in ends if 0 < time < sounds.shape[1] / sound.sample_rate]
    names = [named if len(sounds) == 1 else f"{i + 1}: {named}" for i in range(len(sounds))]
    clips = dict(zip(names, sounds, strict=True))
    if sound.clip is not None and len(sound.clip.samples) > 1:
        clips = {sound.clip.name: sound.clip.samples[: sounds.shape[1]], **clips}
    return compare_audio(clips, sound.sample_rate, title, dict.fromkeys(names, marks))


def stopped_figure(images: Mapping[str, UInt8[np.ndarray, "N H W C"]], title: str) -> Figure:
    """The first samples of the exact ones, and below them the same of each solver that stopped on purpose."""
    figure = new_figure(9, 0.5 + 1.2 * len(images))
    for axes, (label, found) in zip(figure.subplots(len(images), 1, squeeze=False)[:, 0], images.items(), strict=True):
        row = [grid_image(image[None]) for image in found[:_IN_A_ROW]]
        axes.imshow(np.concatenate(row, axis=1), interpolation="nearest")
        axes.set_title(label, fontsize=9, color=INK, loc="left")
        axes.set_axis_off()
    set_title(figure, title)
    return figure


def accepted_figure(text: str, ways: Mapping[str, Int[np.ndarray, " T"]], title: str) -> Figure:
    """A text by solver, each run of characters that one step makes certain in a colour of its own.

    ``ways`` are by label the number of steps after which each character is certain.
    """
    lines = [list(range(first, min(first + _A_LINE, len(text), _SHOWN))) for first in range(0, len(text), _A_LINE)]
    lines = [line for line in lines if line]
    figure = new_figure(11, 0.6 + (0.5 + 0.19 * len(lines)) * len(ways))
    for axes, (label, steps) in zip(figure.subplots(len(ways), 1, squeeze=False)[:, 0], ways.items(), strict=True):
        turn = np.cumsum(np.diff(steps, prepend=steps[0]) != 0)
        for row, line in enumerate(lines):
            for column, place in enumerate(line):
                colour = _TURNS[turn[place] % len(_TURNS)]
                shown = text[place] if text[place].isprintable() else "\u21b5"
                axes.text(
                    column,
                    -row,
                    shown.replace("$", r"\$"),
                    fontsize=7,
                    family="monospace",
                    backgroundcolor="none",
                    color=INK,
                    ha="center",
                    va="center",
                    bbox={"boxstyle": "square,pad=0.1", "fc": colour, "lw": 0},
                )
        axes.set(xlim=(-1, _A_LINE), ylim=(-len(lines), 1))
        found = len(np.unique(steps))
        axes.set_title(
            f"{label}: {len(steps)} characters in {int(steps[-1])} steps, {found} of which find some",
            fontsize=9,
            color=INK,
            loc="left",
        )
        axes.set_axis_off()
    set_title(figure, title)
    return figure
