"""What solvers found of a system, as a report: rows, traces, the solution, and pictures of convergence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, Shaped

from runners.measure.choosing import prediction_tables
from runners.measure.comparison import Comparison, comparison_table
from runners.measure.job import Frames
from runners.plotting.convergence import convergence_figure, to_files
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.system.figures import forming_figure

_POINTS = 600  # equations that are drawn of a way, evenly spaced, and
_STATES = 5  # states, about evenly on a logarithmic axis of iterations


def system_report(title: str, config: Mapping[str, Any], comparison: Comparison) -> Report:
    """All rows, and the solution that errors are measured against. ``config`` is the resolved one."""
    rows = [comparison.record(row) for row in comparison.rows]
    traces = {row.label: row.trace for row in comparison.rows if row.trace is not None}
    draw = partial(convergence_figure, traces, rows, title, comparison.reference_label)
    by = {"step": "num_steps", "time": "time_s"} if traces else {}
    rough = {row.label: row.value for row in comparison.rows if row.roughness is not None}
    exact = _first_feature(jax.tree.map(lambda a: a[None], comparison.reference))[0]
    t = np.unique(np.linspace(0, len(exact) - 1, _POINTS).round().astype(int))
    ways = {row.label: _way(row.frames, t) for row in comparison.rows if row.frames is not None}
    form = partial(forming_figure, ways, rows, t, exact[t], title)
    return Report(
        kind="system",
        title=title,
        config=config,
        record={
            "system": {"name": str(config["system"]["name"]), **comparison.system_record},
            "error_reference": comparison.reference_label,
            "fastest": comparison.fastest,
            "rows": rows,
            "skipped": [skipped.record for skipped in comparison.skipped],
        },
        arrays={
            "solution.npz": _by_path(comparison.reference),
            "stopped.npz": {f"{label}/{key}": a for label, x in rough.items() for key, a in _by_path(x).items()},
            "traces.npz": to_files(traces),
            **({"forming.npz": {"t": t, **to_files(ways)}} if ways else {}),
        },
        artifacts=[
            *(Picture(f"convergence_by_{name}.png", partial(draw, x)) for name, x in by.items()),
            *([Picture("forming.png", form)] if ways else []),
        ],
        tables=[comparison_table(comparison, title), *prediction_tables(comparison.rows)],
        sentences=comparison.sentences,
        failure=comparison.complaint,
        interrupted=comparison.interrupted,
    )


def _by_path(x: Any) -> dict[str, np.ndarray]:
    """The leaves of a state by where they are in it."""
    return {f"x{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(x)}


def _way(frames: Frames, t: Int[np.ndarray, " P"]) -> dict[str, np.ndarray]:
    """A few of the states that a solve went through, by the steps that they took."""
    chosen = np.unique(np.geomspace(1, len(frames.num_steps) - 1, _STATES).round().astype(int))
    return {"num_steps": frames.num_steps[chosen], "values": _first_feature(frames.states)[chosen][:, t]}


def _first_feature(states: Any) -> Shaped[np.ndarray, "F T"]:
    """The first feature of the first sample, of states with leaves (F, T, ...)."""
    leaf = np.asarray(jax.tree.leaves(states)[0])
    return leaf.reshape(*leaf.shape[:2], -1)[..., 0]
