"""An audio clip as a model of sound reads it, chunk by chunk, and as the model goes on with its beginning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from data.audio.clip import Waveform, clip_path, load_clip
from data.text.passages import NUM_IDS, load_text
from models.capabilities import SoundModel, require
from models.wavenet.generation import begin, generate
from runners.config.schema import UsageError
from runners.plotting.audio import WaveFile
from runners.plotting.picture import Picture
from runners.report.files import TextFile
from runners.training.config import ClipConfig
from runners.training.figures import continuation_figure
from runners.training.task import ModelOutput
from solvers.trees.pytree import pytree

_TEXT = 400  # bytes that are generated to look at
fold = jax.jit(lambda model: model.fold())  # the inference form of a model, compiled once for all weights


@pytree
@dataclass(frozen=True)
class Chunks:
    """A clip's class ids cut up, in order. The last chunk is filled up with samples that do not count."""

    ids: Int[Array, "N S"]
    start: Int[Array, " N"]  # the number in the clip of a chunk's first sample
    counted: Bool[Array, "N S"]  # whether a sample is one of those that are asked for

    @classmethod
    def of(cls, ids: Int[np.ndarray, " T"], size: int, first: int = 0) -> Chunks:
        """Chunks of ``size`` samples, of which those from ``first`` on count."""
        count = -(-len(ids) // size)
        times = np.arange(count * size).reshape(count, size)
        padded = np.pad(ids, (0, times.size - len(ids))).reshape(times.shape)
        counted = (times >= first) & (times < len(ids))
        return cls(jnp.asarray(padded), jnp.asarray(times[:, 0].astype(np.int32)), jnp.asarray(counted))


class ClipParts(NamedTuple):
    """A clip or a text, and which part of it is held out."""

    wave: Waveform | None  # None: it is a text
    ids: Int[np.ndarray, " T"]  # its class ids
    held_out: int  # samples, or bytes, at its end

    @property
    def words(self) -> tuple[str, str]:
        """What it consists of, and what it is."""
        return ("bytes", "text") if self.wave is None else ("samples", "clip")

    @property
    def num_train(self) -> int:
        """The number of samples to train on."""
        return len(self.ids) - self.held_out

    def train(self, size: int) -> Chunks:
        """The clip without its held-out end."""
        return Chunks.of(self.ids[: self.num_train], size)

    def evaluated(self, size: int) -> Chunks:
        """The clip, of which the held-out end counts, or all of it where there is none."""
        return Chunks.of(self.ids, size, first=self.num_train if self.held_out else 0)


def load_parts(data: ClipConfig, name: str, model: Any, verb: str) -> ClipParts:
    """The clip for a model called ``name`` that is ``verb``, trained or evaluated, on it.

    Of a text the held-out passages come behind all others. Raises CapabilityError where the model makes no sound,
    AudioError or DatasetError where there is no such clip or text, and UsageError where they do not go together.
    """
    if require(model, SoundModel).sample_rate != data.sample_rate and not data.is_text:
        raise UsageError(
            f"data.sample_rate is {data.sample_rate}, the model's sample_rate {model.sample_rate}; they should "
            "be the same"
        )
    try:
        jax.eval_shape(lambda model: model.fold(), model)
    except ValueError as error:  # it is conditioned on something
        raise UsageError(f"model {name} cannot be {verb} on a clip alone: {error}") from None
    if data.is_text:
        return _text_parts(data, name, model)
    wave = load_clip(clip_path(data.wav), data.sample_rate, data.max_s)
    ids = np.asarray(model.quantizer.encode(wave.samples))
    return ClipParts(wave, ids, held_out=round(data.held_out_s * wave.sample_rate))


def _text_parts(data: ClipConfig, name: str, model: Any) -> ClipParts:
    if model.quantizer.num_classes < NUM_IDS:
        raise UsageError(
            f"model {name} has num_classes: {model.quantizer.num_classes}; the bytes of a text need {NUM_IDS}"
        )
    text = load_text(file=data.file, held_out=data.held_out)
    return ClipParts(None, np.concatenate([text.train, text.held_out]).astype(np.int32), len(text.held_out))


def clip_name(data: ClipConfig) -> str:
    """The name of a clip or a text in files of weights and for people."""
    path = data.file if data.is_text else data.wav
    return Path(path).name if path else "speech"


class TextContinuation:
    """Goes on with a text: ``generated`` by the likeliest bytes, ``sampled`` by draws from the distribution."""

    def __init__(self, ids: Int[np.ndarray, " T"]) -> None:
        """From the text's beginning, half as much as is generated."""
        self._prompt = jnp.asarray(ids[: min(len(ids), _TEXT // 2), None])

    def generate(self, model: Any, key: Array, suffix: str) -> ModelOutput:
        """Make <name><suffix>.txt each, with the same noise for the same key."""
        made = _continued(model, self._prompt, _TEXT, key)
        files = [
            TextFile(f"{name}{suffix}.txt", np.asarray(ids).astype(np.uint8).tobytes()) for name, ids in made.items()
        ]
        record = {name: {"num_bytes": len(ids), "prompt_bytes": len(self._prompt)} for name, ids in made.items()}
        return ModelOutput(record, files)


class ClipContinuation:
    """Goes on with a clip: ``generated`` by the likeliest classes, ``sampled`` by draws from the distribution."""

    def __init__(self, clip: Waveform, seconds: float, prompt_s: float) -> None:
        """In all at most as long as the clip, whose first ``prompt_s``, but no more than half, are given."""
        self._clip = clip
        self._num_samples = min(len(clip.samples), max(4, round(seconds * clip.sample_rate)))
        self._prompt = min(self._num_samples // 2, round(prompt_s * clip.sample_rate))

    def generate(self, model: Any, key: Array, suffix: str) -> ModelOutput:
        """Make <name><suffix>.wav each, and generated<suffix>.png of all, with the same noise for the same key."""
        rate, made = self._clip.sample_rate, self._made(model, key)
        draw = partial(continuation_figure, made, self._clip.samples, self._prompt, rate)
        sounds = [WaveFile(f"{name}{suffix}.wav", samples, rate) for name, samples in made.items()]
        record = {name: self._record(samples) for name, samples in made.items()}
        return ModelOutput(record, [*sounds, Picture(f"generated{suffix}.png", draw)])

    def _made(self, model: Any, key: Array) -> dict[str, Float[np.ndarray, " T"]]:
        """Sounds by their names, each with the prompt that it begins with."""
        prompt = model.quantizer.encode(self._clip.samples[: self._prompt])[:, None]
        made = _continued(model, prompt, self._num_samples - self._prompt, key)
        return {name: np.asarray(model.quantizer.decode(ids)) for name, ids in made.items()}

    def _record(self, samples: Float[np.ndarray, " T"]) -> dict[str, Any]:
        """The length of a sound, and its correlation with the clip: 1 is the same up to a factor, 0 nothing alike."""
        clip = self._clip.samples[self._prompt : len(samples)]
        return {
            "num_samples": len(samples),
            "prompt_samples": self._prompt,
            "correlation_with_clip": _correlation(samples[self._prompt :], clip),
        }


def _continued(model: Any, prompt: Int[Array, "P 1"], count: int, key: Array) -> dict[str, Int[Array, " T"]]:
    """The class ids of a prompt and ``count`` that follow, by the name of how they were made."""
    network, made = fold(model), {}
    for i, (name, head) in enumerate({"generated": model.greedy, "sampled": model.head}.items()):
        state = begin(network, prompt, jax.random.fold_in(key, i))
        ids, _ = generate(network, head, state, count)
        made[name] = jnp.concatenate([prompt, ids])[:, 0]
    return made


def _correlation(x: Float[np.ndarray, " T"], y: Float[np.ndarray, " T"]) -> float:
    """The correlation of two sounds of one length; 0 where one of them is constant."""
    first, second = (sound.astype(np.float64) - sound.astype(np.float64).mean() for sound in (x, y))
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm else 0.0
