"""How a solution forms: a feature of the first sample, after more and more steps; and what chains have sampled."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from runners.plotting.convergence import Rows, Traces
from runners.plotting.style import FAINT, INK, new_figure, set_title, solver_style, style_axes

_COLUMNS = 2
_WIDE, _NEAR, _FAR = 500, 1e-6, 10.0  # columns of a picture, and the errors between which its colours lie
_PARAMETERS, _PATH, _BINS = 4, 1_000, 61  # how much is shown of samples
_CHAINS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def forming_figure(
    ways: Traces, rows: Rows, t: Int[np.ndarray, " P"], exact: Float[np.ndarray, " P"], title: str
) -> Figure:
    """A panel for each row that has a way: num_steps (F,) and values (F, P), the later the darker, over the answer.

    The axis is that of the answer: guesses that leave it are cut off.
    """
    shown = [row for row in rows if row["label"] in ways]
    height = -(-len(shown) // _COLUMNS)
    figure = new_figure(11, 0.6 + 2.3 * height)
    panels = figure.subplots(height, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    middle, reach = (exact.max() + exact.min()) / 2, 0.7 * float(np.ptp(exact)) or 1.0
    for axes, row in zip(panels, shown, strict=False):
        way, colour = ways[row["label"]], solver_style(row["solver"])[0]
        style_axes(axes)
        axes.set_title(row["label"], fontsize=10, color=INK, loc="left")
        axes.plot(t, exact, color="#d9d9d9", lw=4)
        axes.set_title(f"after {', '.join(map(str, way['num_steps']))} steps", fontsize=8, color=FAINT, loc="right")
        for i, values in enumerate(way["values"], 1):
            strength = i / len(way["values"])
            axes.plot(t, values, color=colour, lw=0.6 + strength, alpha=strength)
        axes.set_ylim(middle - reach, middle + reach)
    for axes in panels[len(shown) :]:
        axes.remove()
    for axes in panels[max(0, len(shown) - _COLUMNS) : len(shown)]:
        axes.set_xlabel("equation")
        axes.tick_params(labelbottom=True)
    set_title(figure, title)
    return figure


def chain_figure(errors: Traces, title: str) -> Figure:
    """How a chain forms: a panel for each solver, dark where a sample is far from the exact one yet.

    ``errors`` are by label: num_steps (F,), and error (F, T) of the samples after so many steps. Of a long chain the
    largest of neighbouring samples is shown.
    """
    figure = new_figure(11, 0.8 + 2.2 * len(errors))
    panels = figure.subplots(len(errors), 1, squeeze=False)[:, 0]
    for axes, (label, way) in zip(panels, errors.items(), strict=True):
        length = way["error"].shape[1]
        edges = np.unique(np.linspace(0, length, min(length, _WIDE) + 1).round().astype(int))
        shown = np.maximum.reduceat(np.nan_to_num(way["error"], nan=_FAR, posinf=_FAR), edges[:-1], axis=1)
        steps = way["num_steps"].astype(float)
        below = np.append(steps, steps[-1] + max(1.0, steps[-1] - steps[-2]))
        norm = LogNorm(_NEAR, _FAR)
        image = axes.pcolormesh(edges, below, np.clip(shown, _NEAR, _FAR), cmap="Blues", norm=norm, rasterized=True)
        axes.set_title(label, fontsize=10, color=INK, loc="left")
        axes.set_ylabel("steps", fontsize=9, color=INK)
        axes.invert_yaxis()
        figure.colorbar(image, ax=axes, label="error", pad=0.01)
    panels[-1].set_xlabel("sample of the first chain")
    set_title(figure, title)
    return figure


def posterior_figure(samples: Float[np.ndarray, "B T D"], title: str) -> Figure:
    """The first parameters: how the chains went, and the histogram of each chain, a colour each; they should agree."""
    count = min(_PARAMETERS, samples.shape[-1])
    figure = new_figure(11, 0.6 + 1.9 * count)
    panels = figure.subplots(count, 2, width_ratios=(3, 1), squeeze=False, sharex="col")
    for i, (path, histogram) in enumerate(panels):
        low, high = samples[..., i].min(), samples[..., i].max()
        bins = np.linspace(low, high if high > low else low + 1, _BINS)  # a chain may stay where it began
        for chain, colour in zip(samples[:, :, i], _CHAINS, strict=False):
            path.plot(chain[:_PATH], color=colour, lw=0.7)
            heights, _ = np.histogram(chain, bins, density=True)
            histogram.stairs(heights, bins, color=colour, lw=1.0)
        path.set_ylabel(f"parameter {i}", fontsize=9, color=INK)
        histogram.set_yticks([])
        for axes in (path, histogram):
            style_axes(axes)
    panels[-1, 0].set_xlabel("sample")
    panels[-1, 1].set_xlabel("value")
    set_title(figure, title)
    return figure
