"""An audio clip as a model of sound reads it: class ids, chunk by chunk, and which of them are held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from common.paths import user_path
from common.pytree import pytree
from data.audio.clip import Waveform, load_clip
from models.capabilities import SoundModel, require
from runners.config.schema import UsageError
from runners.training.config import ClipConfig


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
    """A clip, and which part of it is held out."""

    wave: Waveform
    ids: Int[np.ndarray, " T"]  # its class ids
    held_out: int  # samples at its end

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

    Raises CapabilityError where the model makes no sound, AudioError where there is no such clip, and UsageError where
    they do not go together.
    """
    if require(model, SoundModel).sample_rate != data.sample_rate:
        raise UsageError(
            f"data.sample_rate is {data.sample_rate}, the model's sample_rate {model.sample_rate}; they should "
            "be the same"
        )
    try:
        jax.eval_shape(lambda model: model.fold(), model)
    except ValueError as error:  # it is conditioned on something
        raise UsageError(f"model {name} cannot be {verb} on a clip alone: {error}") from None
    wave = load_clip(None if data.wav is None else user_path(data.wav), data.sample_rate, data.max_s)
    ids = np.asarray(model.quantizer.encode(wave.samples))
    return ClipParts(wave, ids, held_out=round(data.held_out_s * wave.sample_rate))


def clip_name(data: ClipConfig) -> str:
    """The name of a clip in files of weights and for people."""
    return Path(data.wav).name if data.wav else "speech"
