"""Sound as float32 samples of one channel: read, resampled, normalized, written; and spoken sentences.

``read_wave``, ``read_chunks`` and ``write_wave`` are those of ``data.audio.wave_file``.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from common.paths import user_path
from data.audio.wave_file import AudioError, Waveform, check_rate, read_chunks, read_wave, write_wave

__all__ = [
    "EMBEDDED",
    "SPEECH",
    "AudioError",
    "Waveform",
    "clip_path",
    "load_clip",
    "read_chunks",
    "read_wave",
    "resample",
    "write_wave",
]

# 3 and 69 s of one voice at 16 kHz; README.md says what they are and how they were made.
EMBEDDED = {name: Path(__file__).with_name(f"{name}.wav") for name in ("speech", "sentences")}
SPEECH = EMBEDDED["speech"]
_STEEPEST = 1000  # times that a rate is raised at most: what grows more has a damaged header


def resample(wave: Waveform, sample_rate: int) -> Waveform:
    """The same sound at another rate, through a polyphase low-pass filter (scipy.signal.resample_poly).

    N samples become ceil(N * sample_rate / wave.sample_rate). The filter is wide, so values may go beyond those given
    by a little, and what lies above half the lower rate is gone.

    Raises:
        AudioError: the rate is not from 1 to 1,000,000 Hz, or more than 1,000 times that of the sound.
    """
    check_rate(sample_rate)
    if sample_rate == wave.sample_rate:
        return wave
    if sample_rate > _STEEPEST * wave.sample_rate:
        raise AudioError(
            f"sound of {wave.sample_rate} samples a second cannot be resampled to {sample_rate}, more than "
            f"{_STEEPEST:,} times as many"
        )
    from scipy.signal import resample_poly  # takes a while to import

    common = math.gcd(sample_rate, wave.sample_rate)
    samples = wave.samples.astype(np.float64)
    resampled = resample_poly(samples, sample_rate // common, wave.sample_rate // common)
    return Waveform(resampled.astype(np.float32), sample_rate)


def clip_path(wav: str | None) -> Path:
    """The file that ``wav`` of a config names: a sound that comes with the project, or the user's own file.

    ``None`` and ``speech`` are a spoken sentence, ``sentences`` are twenty of the same voice. Raises UserError where
    no file can have such a name.
    """
    name = "speech" if wav is None else wav
    return EMBEDDED.get(name) or user_path(name)


def load_clip(path: str | Path | None = None, sample_rate: int = 16_000, max_s: float | None = None) -> Waveform:
    """A clip to train on or to stream: one channel, resampled, scaled so that max |x| = 1.

    The scale is a factor: silence stays 0. (Fast WaveNet's demo maps the least sample to -1 and the greatest to 1.)

    Args:
        path: a WAV file; ``None`` is the spoken sentence that comes with the project.
        sample_rate: in Hz.
        max_s: seconds to keep from the beginning; ``None`` keeps all.

    Returns:
        float32 (N,), N = ceil(samples in the file * sample_rate / its rate), or round(max_s * sample_rate) if that is
        less.

    Raises:
        AudioError: as ``read_wave``, the clip is silent, or ``max_s`` is less than a sample.
    """
    if max_s is not None and not max_s * sample_rate >= 1:
        raise AudioError(f"max_s should be at least a sample at {sample_rate} Hz, not {max_s} s")
    path = SPEECH if path is None else path
    wave = read_wave(path)
    length = math.ceil(len(wave.samples) * sample_rate / wave.sample_rate)
    if max_s is not None and wave.duration_s > max_s:
        length = round(max_s * sample_rate)
        wave = Waveform(wave.samples[: math.ceil(max_s * wave.sample_rate)], wave.sample_rate)
    samples = resample(wave, sample_rate).samples[:length]
    peak = np.abs(samples).max()
    if not np.ptp(wave.samples) or not peak:
        within = "" if max_s is None else f" in its first {max_s:g} s"
        raise AudioError(f"audio file {str(path)!r} is silent{within}: there is nothing to learn or to hear")
    return Waveform(samples / peak, sample_rate)
