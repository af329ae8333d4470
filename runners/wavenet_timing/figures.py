"""The picture of WaveNet's time per sample by the number of layers.

``record`` is the content of a results.json of WaveNetTimingRunner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from runners.plotting.style import DASHES, FAINT, INK, new_figure, set_title, style_axes
from runners.report.units import format_seconds
from runners.wavenet_timing.laws import law_value

# Each curve: the key of rows and laws, its name, colour and marker.
_CURVES = (
    ("naive", "naive: a sweep over the receptive field", "#000000", "o"),
    ("queues", "with queues", "#0072b2", "s"),
    ("pinned_queues", "with queues, on one core", "#56b4e9", "D"),
    ("chain", "the bare chain of products", "#8a8a8a", "."),
)
_FITTED = ("naive", "queues")


def timing_figure(record: Mapping[str, Any], title: str) -> Figure:
    """Every kind of time against layers, on axes of their own."""
    figure = new_figure(8, 5)
    draw_timing(figure.subplots(), record)
    set_title(figure, title)
    return figure


def draw_timing(axes: Axes, record: Mapping[str, Any]) -> None:
    """Draw every kind of time against layers on a logarithmic axis, the fitted laws dashed, and real time."""
    style_axes(axes)
    for key, name, colour, marker in _CURVES:
        points = [(row["layers"], row[f"{key}_ms"]["median"]) for row in record["rows"] if row[f"{key}_ms"]]
        if not points:
            continue
        law = record["laws"][key] if key in _FITTED else None
        axes.plot(*np.asarray(points).T, marker=marker, ms=6, lw=0 if law else 1.2, color=colour, label=name)
        if law:
            layers = np.linspace(law.get("from_layers", points[0][0]), points[-1][0], 100)
            axes.plot(layers, law_value(law, layers), color=colour, lw=1.4, ls=DASHES[1], label=_formula(law))
    config = record["config"]
    rate = config["sample_rate"]
    real_time = 1e3 / rate
    axes.axhline(real_time, color="#d55e00", lw=1.2, label=f"real time at {rate / 1000:g} kHz: {real_time:.4g} ms")
    axes.set(yscale="log", xlabel=f"layers in each of {config['num_blocks']} blocks", ylabel="time per sample")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: format_seconds(1e-3 * ms)))
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, edgecolor=FAINT)


def _formula(law: Mapping[str, float]) -> str:
    if "doublings_per_layer" in law:
        return f"fit: ∝ 2^({law['doublings_per_layer']:.2f} L), L ≥ {law['from_layers']}"
    return f"fit: {1e3 * law['a_ms']:.1f} + {1e3 * law['b_ms']:.2f} L µs, R² = {law['r_squared']:.4f}"
