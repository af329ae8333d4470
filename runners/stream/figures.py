"""Pictures of a stream: the sound, what the network made of it, and how long that took.

``outputs`` are the arrays of a stream's outputs.npz, by chunk: time_s at its end, num_samples, latency_s, values, and
the sound's low and high. ``record`` is the content of its results.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runners.plotting.style import INK, new_figure, set_title, style_axes
from runners.report.units import format_seconds

_COLUMNS = 1500  # in a picture: more are not seen
_WAVE, _VALUE, _DEADLINE = "#0072b2", "#d55e00", "#009e73"


def stream_figure(outputs: Mapping[str, Shaped[np.ndarray, "N ..."]], record: Mapping[str, Any], title: str) -> Figure:
    """Waveform and values in time, and a histogram of latencies with a chunk's duration."""
    figure = new_figure(11, 4.5)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.6, 1))
    upper, right = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[:, 1])
    lower = figure.add_subplot(grid[1, 0], sharex=upper)
    stream = record["stream"]
    draw_sound(upper, outputs)
    upper.tick_params(labelbottom=False)
    draw_values(lower, outputs, record["values"]["label"])
    draw_latencies(right, outputs["latency_s"], stream["chunk_samples"] / stream["sample_rate"])
    set_title(figure, title)
    return figure


def draw_sound(axes: Axes, outputs: Mapping[str, Shaped[np.ndarray, "N ..."]]) -> None:
    """Draw the band between the sound's lowest and highest samples against seconds."""
    starts, edges = _columns(outputs["time_s"])
    least, most = np.minimum.reduceat(outputs["low"], starts), np.maximum.reduceat(outputs["high"], starts)
    axes.stairs(most, edges, baseline=least, fill=True, color=_WAVE, lw=0.5)
    axes.stairs(most, edges, baseline=least, color=_WAVE, lw=0.5)  # where both are equal there is nothing to fill
    axes.set(ylabel="amplitude", xlim=(0, edges[-1]))
    style_axes(axes)


def draw_values(axes: Axes, outputs: Mapping[str, Shaped[np.ndarray, "N ..."]], label: str) -> None:
    """Draw the means of each value against seconds; ``label`` is their name, with its unit."""
    starts, edges = _columns(outputs["time_s"])
    sizes = outputs["num_samples"]
    for values in outputs["values"].T:
        means = np.add.reduceat(values * sizes, starts) / np.add.reduceat(sizes, starts)
        axes.stairs(means, edges, baseline=None, color=_VALUE, lw=1.0)
    axes.set(xlabel="time (s)", ylabel=label, xlim=(0, edges[-1]))
    style_axes(axes)


def draw_latencies(axes: Axes, latency_s: Float[np.ndarray, " N"], chunk_s: float) -> None:
    """Draw a histogram of latencies in ms on a logarithmic axis, their percentiles, and how long a chunk lasts."""
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
    style_axes(axes)


def _columns(time_s: Float[np.ndarray, " N"]) -> tuple[np.ndarray, np.ndarray]:
    """The first of every group of chunks that share a column, and the edges of the columns in seconds."""
    count = len(time_s)
    starts = np.linspace(0, count, min(count, _COLUMNS), endpoint=False).astype(int)
    return starts, np.append(np.concatenate([[0.0], time_s])[starts], time_s[-1])
