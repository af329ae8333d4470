"""What a model of sound makes: sound of its own beside the clip that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from data.audio.clip import Waveform, write_wave
from models.wavenet.generation import begin, generate
from runners.plotting.audio import compare_audio
from runners.plotting.style import save_figure


@dataclass(frozen=True)
class SoundArtifact:
    """SoundArtifact by the name of how it was made, and the clip. Satisfies Artifact."""

    made: Mapping[str, Float[np.ndarray, " T"]]  # with the prompt that they begin with
    clip: Waveform
    prompt: int  # samples of the clip that all of them begin with

    @property
    def record(self) -> dict[str, Any]:
        """How much it is, and how alike it is to the clip: 1 is the same up to a factor, 0 nothing in common."""
        return {
            name: {
                "num_samples": len(samples),
                "prompt_samples": self.prompt,
                "correlation_with_clip": self._alike(samples),
            }
            for name, samples in self.made.items()
        }

    def write(self, folder: Path, suffix: str) -> None:
        """A <name><suffix>.wav each, and generated<suffix>.png of all below the clip."""
        folder.mkdir(parents=True, exist_ok=True)
        rate, length = self.clip.sample_rate, max(map(len, self.made.values()))
        for name, samples in self.made.items():
            write_wave(folder / f"{name}{suffix}.wav", samples, rate)
        clips = {"training clip": self.clip.samples[:length], **self.made}
        given = f"its first {1e3 * self.prompt / rate:g} ms" if self.prompt else "nothing"
        figure = compare_audio(clips, rate, f"A clip, and what its model makes of {given}")
        save_figure(folder / f"generated{suffix}.png", figure)

    def _alike(self, samples: Float[np.ndarray, " T"]) -> float:
        """The correlation over the time that both last, after the prompt."""
        pair = (x.astype(np.float64) for x in (samples, self.clip.samples[: len(samples)]))
        made, clip = (x[self.prompt :] - x[self.prompt :].mean() for x in pair)
        norm = float(np.linalg.norm(made) * np.linalg.norm(clip))
        return float(made @ clip) / norm if norm else 0.0


class ClipContinuation:
    """Goes on with a clip: ``generated`` by the likeliest classes, ``sampled`` by draws from the distribution."""

    def __init__(self, clip: Waveform, seconds: float, prompt_s: float) -> None:
        """In all at most as long as the clip, whose first ``prompt_s``, but no more than half, are given."""
        self._clip = clip
        self._num_samples = min(len(clip.samples), max(4, round(seconds * clip.sample_rate)))
        self._prompt = min(self._num_samples // 2, round(prompt_s * clip.sample_rate))
        self._fold = jax.jit(lambda model: model.fold())

    def generate(self, model: Any, key: Array) -> SoundArtifact:
        """SoundArtifact of a model, with the same noise for the same key."""
        network = self._fold(model)
        prompt = model.quantizer.encode(self._clip.samples[: self._prompt])[:, None]
        made = {}
        for i, (name, head) in enumerate({"generated": model.greedy, "sampled": model.head}.items()):
            state = begin(network, prompt, jax.random.fold_in(key, i))
            ids, _ = generate(network, head, state, self._num_samples - self._prompt)
            made[name] = np.asarray(model.quantizer.decode(jnp.concatenate([prompt, ids])[:, 0]))
        return SoundArtifact(made, self._clip, self._prompt)
