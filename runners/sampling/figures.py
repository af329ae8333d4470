"""Pictures of sampled sound, and of samples that were found by halves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from runners.plotting.audio import compare_audio
from runners.plotting.picture import grid_image
from runners.plotting.style import INK, new_figure, set_title

_DRAWN = 4  # sounds of a batch in the picture
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
