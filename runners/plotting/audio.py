"""Sound as something that a run leaves behind: wav files, and pictures of one clip or of several to compare.

The ``draw_*`` functions draw on axes that the caller has. Samples are one channel, (N,) with N >= 2, full scale is
[-1, 1]; rates are in Hz.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from data.audio.clip import write_wave
from runners.plotting.style import FAINT, INK, new_figure, set_title, style_axes

RANGE_DB = 70.0  # from the loudest that is shown to black
_COLUMNS = 1500  # in a picture: more are not seen
_WINDOW_S = 0.032
_PAUSE_S = 0.25  # between the sounds of a batch in one file
_WAVE = "#0072b2"


@dataclass(frozen=True)
class WaveFile:
    """A wav file of one channel, full scale [-1, 1]. Satisfies Artifact."""

    name: str
    samples: Float[np.ndarray, " N"]
    sample_rate: int  # in Hz

    essential: ClassVar[bool] = True

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        write_wave(folder / self.name, self.samples, self.sample_rate)


def one_after_the_other(sounds: Float[np.ndarray, "B T"], sample_rate: int) -> Float[np.ndarray, " N"]:
    """The sounds of a batch as one, with pauses of a quarter of a second between them."""
    pause = round(_PAUSE_S * sample_rate)
    apart = np.pad(sounds, ((0, 0), (0, pause))).reshape(-1)
    return apart[: len(apart) - pause]


class Spectrogram(NamedTuple):
    """How loud a sound is in time and frequency."""

    magnitude_db: Float[np.ndarray, "F S"]  # 20 log10 of the magnitude; a full-scale sine is 0 at its frequency
    extent: tuple[float, float, float, float]  # left, right in s, bottom, top in kHz: the outer edges of outer cells


def compare_audio(
    clips: Mapping[str, Float[np.ndarray, " N"]],
    sample_rate: int,
    title: str,
    marks: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Clips below each other: their names, waveforms and spectrograms on shared axes and one dB range.

    ``marks``: for a clip's name the times in s at which dashed lines stand.

    Raises ValueError where there are no clips, or as ``spectrogram`` does.
    """
    if not clips:
        raise ValueError("there should be one clip or more to compare")
    loudest = max(float(spectrogram(samples, sample_rate).magnitude_db.max()) for samples in clips.values())
    figure = new_figure(11, 1.0 + 1.9 * len(clips))
    rows = figure.subplots(len(clips), 2, sharex=True, sharey="col", squeeze=False, width_ratios=(1, 1.25))
    for (left, right), (name, samples) in zip(rows, clips.items(), strict=True):
        draw_waveform(left, samples, sample_rate)
        left.set_title(name, fontsize=10.5, color=INK, loc="left")
        image = draw_spectrogram(right, samples, sample_rate, loudest_db=loudest)
        for time in (marks or {}).get(name, ()):
            left.axvline(time, color=FAINT, lw=1, ls=(0, (4, 2)))
            right.axvline(time, color="white", lw=1, ls=(0, (4, 2)))
    for panel in rows[:-1].flat:
        panel.set_xlabel("")
    longest = max(len(samples) for samples in clips.values())
    rows[0, 0].set_xlim(0, longest / sample_rate)
    rows[0, 0].set_ylim(*_limits(np.concatenate(list(clips.values()))))
    bar = figure.colorbar(image, ax=list(rows[:, 1]), pad=0.01, fraction=0.03, aspect=18 * len(clips))
    bar.set_label("dB", color=INK, fontsize=9)
    bar.ax.tick_params(colors=INK, labelsize=8)
    set_title(figure, title)
    return figure


def draw_waveform(axes: Axes, samples: Float[np.ndarray, " N"], sample_rate: int) -> None:
    """Draw samples against seconds: each, or where they are many the lowest and highest of every short stretch.

    Raises ValueError as ``spectrogram`` does.
    """
    samples = _sound(samples)
    style_axes(axes)
    axes.set(xlabel="time (s)", ylabel="amplitude", xlim=(0, len(samples) / sample_rate), ylim=_limits(samples))
    if len(samples) <= 2 * _COLUMNS:
        axes.plot(np.arange(len(samples)) / sample_rate, samples, color=_WAVE, lw=0.9)
        return
    starts = np.linspace(0, len(samples), _COLUMNS, endpoint=False).astype(int)
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    axes.fill_between(starts / sample_rate, low, high, color=_WAVE, lw=0.3)


def draw_spectrogram(
    axes: Axes,
    samples: Float[np.ndarray, " N"],
    sample_rate: int,
    *,
    loudest_db: float | None = None,
    range_db: float = RANGE_DB,
) -> AxesImage:
    """Draw the log-magnitude spectrogram in dB, kHz against seconds, and return the image, for a colour bar.

    The brightest colour stands for ``loudest_db``, by default the clip's own greatest value, so that several pictures
    can share it; the darkest is ``range_db`` below. Raises ValueError as ``spectrogram`` does.
    """
    magnitude_db, extent = spectrogram(samples, sample_rate)
    loudest = float(magnitude_db.max()) if loudest_db is None else loudest_db
    image = axes.imshow(
        magnitude_db, cmap="magma", vmin=loudest - range_db, vmax=loudest, extent=extent, origin="lower", aspect="auto"
    )
    style_axes(axes)
    axes.grid(False)
    axes.set(xlabel="time (s)", ylabel="kHz", xlim=(0, len(samples) / sample_rate), ylim=(0, sample_rate / 2000))
    return image


def spectrogram(samples: Float[np.ndarray, " N"], sample_rate: int) -> Spectrogram:
    """The short-time Fourier transform's magnitude: Hann windows of 32 ms, four to a window's length or fewer.

    Raises ValueError where there are fewer than two samples, or they are not one channel or not finite.
    """
    from scipy.signal import ShortTimeFFT, get_window  # takes a while to import

    samples = _sound(samples)
    size = max(2, min(round(_WINDOW_S * sample_rate), len(samples)))
    hop = max(1, size // 4, -(-len(samples) // _COLUMNS))
    transform = ShortTimeFFT(get_window("hann", size), hop, sample_rate)
    # A sine of amplitude 1 gives half the window's sum; below -200 dB there is nothing.
    magnitude = np.abs(transform.stft(samples, p0=0, p1=len(samples) // hop + 1)) * 2 / transform.win.sum()
    (frequencies, times), step = magnitude.shape, sample_rate / size / 1000
    edges = (-0.5 * hop / sample_rate, (times - 0.5) * hop / sample_rate, -0.5 * step, (frequencies - 0.5) * step)
    return Spectrogram(20 * np.log10(np.maximum(magnitude, 1e-10)), edges)


def _sound(samples: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    samples = np.asarray(samples, float)
    if samples.ndim != 1 or len(samples) < 2:
        raise ValueError(f"sound to draw should be two or more samples (N,), not of shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError(f"sound to draw should be finite: sample {np.flatnonzero(~np.isfinite(samples))[0]} is not")
    return samples


def _limits(samples: Float[np.ndarray, " N"]) -> tuple[float, float]:
    """Symmetric limits of an amplitude axis, a little beyond the greatest; those of full scale for silence."""
    peak = float(np.abs(samples).max()) or 1.0
    return -1.05 * peak, 1.05 * peak
