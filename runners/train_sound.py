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

from data.audio import Waveform, write_wave
from models.generation import begin, generate
from runners.audio_figures import compare_audio


@dataclass(frozen=True)
class Sound:
    """Sound by the name of how it was made, and the clip. Satisfies Exhibit."""

    made: Mapping[str, Float[np.ndarray, " T"]]
    clip: Waveform

    @property
    def record(self) -> dict[str, Any]:
        """How much it is, and how alike it is to the clip: 1 is the same up to a factor, 0 nothing in common."""
        return {
            name: {"num_samples": len(samples), "correlation_with_clip": self._alike(samples)}
            for name, samples in self.made.items()
        }

    def write(self, folder: Path, suffix: str) -> None:
        """A <name><suffix>.wav each, and generated<suffix>.png of all below the clip."""
        folder.mkdir(parents=True, exist_ok=True)
        rate, length = self.clip.sample_rate, max(map(len, self.made.values()))
        for name, samples in self.made.items():
            write_wave(folder / f"{name}{suffix}.wav", samples, rate)
        clips = {"training clip": self.clip.samples[:length], **self.made}
        compare_audio(folder / f"generated{suffix}.png", clips, rate, "A clip, and what its model makes of nothing")

    def _alike(self, samples: Float[np.ndarray, " T"]) -> float:
        """The correlation over the time that both last."""
        pair = (x.astype(np.float64) for x in (samples, self.clip.samples[: len(samples)]))
        made, clip = (x - x.mean() for x in pair)
        norm = float(np.linalg.norm(made) * np.linalg.norm(clip))
        return float(made @ clip) / norm if norm else 0.0


class Generator:
    """Makes sound from nothing: ``generated`` by the likeliest classes, ``sampled`` by draws from the distribution."""

    def __init__(self, clip: Waveform, seconds: float) -> None:
        """At most as long as the clip."""
        self._clip = clip
        self._num_samples = min(len(clip.samples), max(2, round(seconds * clip.sample_rate)))
        self._fold = jax.jit(lambda model: model.fold())

    def generate(self, model: Any, key: Array) -> Sound:
        """Sound of a model, with the same noise for the same key."""
        network, nothing = self._fold(model), jnp.zeros((0, 1), jnp.int32)
        made = {}
        for i, (name, head) in enumerate({"generated": model.greedy, "sampled": model.head}.items()):
            state = begin(network, nothing, jax.random.fold_in(key, i))
            ids, _ = generate(network, head, state, self._num_samples)
            made[name] = np.asarray(model.quantiser.decode(ids[:, 0]))
        return Sound(made, self._clip)
