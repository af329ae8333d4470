"""Sound that a model makes of the beginning of the clip that it was trained on."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from data.audio.clip import Waveform
from models.wavenet.generation import begin, generate
from runners.plotting.audio import WaveFile
from runners.plotting.picture import Picture
from runners.training.task import ModelOutput
from runners.training.tasks.figures import continuation_figure


class ClipContinuation:
    """Goes on with a clip: ``generated`` by the likeliest classes, ``sampled`` by draws from the distribution."""

    def __init__(self, clip: Waveform, seconds: float, prompt_s: float) -> None:
        """In all at most as long as the clip, whose first ``prompt_s``, but no more than half, are given."""
        self._clip = clip
        self._num_samples = min(len(clip.samples), max(4, round(seconds * clip.sample_rate)))
        self._prompt = min(self._num_samples // 2, round(prompt_s * clip.sample_rate))
        self._fold = jax.jit(lambda model: model.fold())

    def generate(self, model: Any, key: Array, suffix: str) -> ModelOutput:
        """Make <name><suffix>.wav each, and generated<suffix>.png of all, with the same noise for the same key."""
        rate, made = self._clip.sample_rate, self._made(model, key)
        draw = partial(continuation_figure, made, self._clip.samples, self._prompt, rate)
        sounds = [WaveFile(f"{name}{suffix}.wav", samples, rate) for name, samples in made.items()]
        record = {name: self._record(samples) for name, samples in made.items()}
        return ModelOutput(record, [*sounds, Picture(f"generated{suffix}.png", draw)])

    def _made(self, model: Any, key: Array) -> dict[str, Float[np.ndarray, " T"]]:
        """Sounds by their names, each with the prompt that it begins with."""
        network = self._fold(model)
        prompt = model.quantizer.encode(self._clip.samples[: self._prompt])[:, None]
        made = {}
        for i, (name, head) in enumerate({"generated": model.greedy, "sampled": model.head}.items()):
            state = begin(network, prompt, jax.random.fold_in(key, i))
            ids, _ = generate(network, head, state, self._num_samples - self._prompt)
            made[name] = np.asarray(model.quantizer.decode(jnp.concatenate([prompt, ids])[:, 0]))
        return made

    def _record(self, samples: Float[np.ndarray, " T"]) -> dict[str, Any]:
        """The length of a sound, and its correlation with the clip: 1 is the same up to a factor, 0 nothing alike."""
        clip = self._clip.samples[self._prompt : len(samples)]
        return {
            "num_samples": len(samples),
            "prompt_samples": self._prompt,
            "correlation_with_clip": _correlation(samples[self._prompt :], clip),
        }


def _correlation(x: Float[np.ndarray, " T"], y: Float[np.ndarray, " T"]) -> float:
    """The correlation of two sounds of one length; 0 where one of them is constant."""
    first, second = (sound.astype(np.float64) - sound.astype(np.float64).mean() for sound in (x, y))
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm else 0.0
