"""Sound as it comes in, chunk by chunk, from a file that is never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from data.audio.clip import AudioError, Waveform, clip_path, read_chunks, read_wave, resample


@dataclass(frozen=True)
class SoundStream:
    """A file to be played ``repeat`` times without a break, at a rate in Hz."""

    path: Path
    sample_rate: int
    repeat: int
    resampled: Waveform | None  # the whole of it, where the file has another rate

    @classmethod
    def open(cls, wav: str | None, sample_rate: int | None, *, may_resample: bool, repeat: int) -> SoundStream:
        """Open a file: its rate is looked at, and nothing else is read unless it has to be resampled.

        Args:
            wav: a path, or ``None`` for the spoken sentence that comes with the project.
            sample_rate: in Hz, that the sound should have; ``None`` for the file's own.
            may_resample: whether a file of another rate is read whole and resampled.
            repeat: how often it is played.

        Raises:
            AudioError: as ``data.audio.clip.read_chunks``, or the file has another rate and may not be resampled.
        """
        path = clip_path(wav)
        rate = next(read_chunks(path, 1)).sample_rate
        wanted = rate if sample_rate is None else sample_rate
        if rate == wanted:
            return cls(path, rate, repeat, None)
        if may_resample:
            return cls(path, wanted, repeat, resample(read_wave(path), wanted))
        raise AudioError(
            f"audio file {str(path)!r} has {rate} samples a second, the model wants {wanted}; "
            "with resample: true it is resampled first"
        )

    def chunks(self, size: int) -> Iterator[Float32[np.ndarray, " S"]]:
        """``size`` samples at a time; the last of every round may be fewer. Raises AudioError as ``read_chunks``."""
        for _ in range(self.repeat):
            yield from self._round(size)

    def _round(self, size: int) -> Iterator[Float32[np.ndarray, " S"]]:
        if self.resampled is not None:
            samples = self.resampled.samples
            yield from (samples[start : start + size] for start in range(0, len(samples), size))
        else:
            yield from (chunk.samples for chunk in read_chunks(self.path, size))
