"""Sampled sound to listen to and to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from data.audio.clip import write_wave
from runners.plotting.audio import compare_audio

_PAUSE_S = 0.25  # between the samples of a batch in one file
_DRAWN = 4  # samples of a batch in the picture


class Clip(NamedTuple):
    """What a sampled sound is shown beside."""

    name: str
    samples: Float[np.ndarray, " N"]


@dataclass(frozen=True)
class SampledSound:
    """A batch of sampled sounds in [-1, 1]. Satisfies Artifact.

    Attributes:
        prompt: what every sample was given to begin with; P may be 0.
        samples: what the solvers found.
        continuation: what was generated behind it; N may be 0.
        sample_rate: in Hz.
        clip: what it is shown beside, from the time on at which the prompt begins.
        record: what results.json says of it.
        title: above the picture.
    """

    prompt: Float[np.ndarray, "B P"]
    samples: Float[np.ndarray, "B T"]
    continuation: Float[np.ndarray, "B N"]
    sample_rate: int
    clip: Clip | None
    record: Mapping[str, Any]
    title: str

    def write(self, folder: Path, suffix: str) -> None:
        """samples.wav and, of samples with their continuations, generated.wav; the picture audio.png.

        Sound does not hold the prompt; the samples of a batch follow each other with pauses between.
        """
        self._write_wave(folder / f"samples{suffix}.wav", self.samples)
        if self.continuation.size:
            sound = np.concatenate([self.samples, self.continuation], axis=1)
            self._write_wave(folder / f"generated{suffix}.wav", sound)
        self._draw(folder / f"audio{suffix}.png")

    def _write_wave(self, path: Path, sounds: Float[np.ndarray, "B T"]) -> None:
        pause = round(_PAUSE_S * self.sample_rate)
        apart = np.pad(sounds, ((0, 0), (0, pause))).reshape(-1)
        write_wave(path, apart[: len(apart) - pause], self.sample_rate)

    def _draw(self, path: Path) -> None:
        """Prompt, samples and continuation in one, with lines where one ends and the next begins."""
        sounds = np.concatenate([self.prompt, self.samples, self.continuation], axis=1)[:_DRAWN]
        parts = {
            "prompt": self.prompt.shape[1],
            "solved for": self.samples.shape[1],
            "generated": self.continuation.shape[1],
        }
        named = ", ".join(name for name, length in parts.items() if length)
        ends = np.cumsum(list(parts.values()))[:-1] / self.sample_rate
        marks = [float(time) for time in ends if 0 < time < sounds.shape[1] / self.sample_rate]
        names = [named if len(sounds) == 1 else f"{i + 1}: {named}" for i in range(len(sounds))]
        clips = dict(zip(names, sounds, strict=True))
        if self.clip is not None and len(self.clip.samples) > 1:
            clips = {self.clip.name: self.clip.samples[: sounds.shape[1]], **clips}
        compare_audio(path, clips, self.sample_rate, self.title, dict.fromkeys(names, marks))
