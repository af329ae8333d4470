"""The picture of a stream: the sound, what the network made of it, and how long that took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from runners.plotting.style import INK, new_figure, save_figure, style_axes
from runners.report.units import format_seconds
from runners.stream.journal import Journal

_COLUMNS = 1500  # in a picture: more are not seen
_WAVE, _VALUE, _DEADLINE = "#0072b2", "#d55e00", "#009e73"


def stream_figure(path: Path, journal: Journal, label: str, chunk_s: float, title: str) -> None:
    """Write a PNG: waveform and values (``label``) in time, and a histogram of latencies with a chunk's duration."""
    figure = new_figure(11, 4.5)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.6, 1))
    upper, axes = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[:, 1])
    lower = figure.add_subplot(grid[1, 0], sharex=upper)
    times = np.concatenate([[0.0], journal.time_s])
    _band(upper, times, journal.low, journal.high, _WAVE)
    upper.set_ylabel("amplitude")
    upper.tick_params(labelbottom=False)
    for values in journal.values.T:
        _curve(lower, times, values, journal.sizes)
    lower.set(xlabel="time (s)", ylabel=label, xlim=(0, times[-1]))
    _histogram(axes, journal.latency_s, chunk_s)
    for panel in (upper, lower, axes):
        style_axes(panel)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12.5, fontweight="bold", color=INK)
    save_figure(path, figure)


def _starts(count: int) -> np.ndarray:
    """The first of every group of chunks that share a column."""
    return np.linspace(0, count, min(count, _COLUMNS), endpoint=False).astype(int)


def _band(
    axes: Axes,
    times: Float[np.ndarray, " N_1"],
    low: Float[np.ndarray, " N"],
    high: Float[np.ndarray, " N"],
    colour: str,
) -> None:
    starts = _starts(len(low))
    edges = np.append(times[starts], times[-1])
    least, most = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    axes.stairs(most, edges, baseline=least, fill=True, color=colour, lw=0.5)
    axes.stairs(most, edges, baseline=least, color=colour, lw=0.5)  # where both are equal there is nothing to fill


def _curve(
    axes: Axes,
    times: Float[np.ndarray, " N_1"],
    values: Float[np.ndarray, " N"],
    sizes: Float[np.ndarray, " N"],
) -> None:
    starts = _starts(len(values))
    means = np.add.reduceat(values * sizes, starts) / np.add.reduceat(sizes, starts)
    axes.stairs(means, np.append(times[starts], times[-1]), baseline=None, color=_VALUE, lw=1.0)


def _histogram(axes: Axes, latency_s: Float[np.ndarray, " N"], chunk_s: float) -> None:
    """Latencies in ms on a logarithmic axis."""
    latency_ms, chunk_ms = 1e3 * latency_s, 1e3 * chunk_s
    least, most = 0.8 * min(latency_ms.min(), chunk_ms), 1.25 * max(latency_ms.max(), chunk_ms)
    axes.hist(latency_ms, bins=np.geomspace(least, most, 60).tolist(), color=_WAVE)
    for part, style in ((50, "-"), (99, "--")):
        value = float(np.percentile(latency_ms, part))
        axes.axvline(value, color=INK, ls=style, lw=1.0, label=f"p{part}: {format_seconds(value / 1e3)}")
    axes.axvline(chunk_ms, color=_DEADLINE, lw=2.0, label=f"a chunk lasts {format_seconds(chunk_s)}")
    axes.set(xscale="log", xlabel="latency of a chunk (ms)", ylabel="chunks")
    for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatted("{x:g}")
    axes.legend(framealpha=1.0, facecolor="white", edgecolor="white", fontsize=9, labelcolor=INK)
