"""What solvers found of a system, as a report: rows, traces, the solution, and pictures of convergence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from runners.measure.comparison import Comparison, comparison_table
from runners.plotting.convergence import convergence_figure, to_files
from runners.plotting.picture import Picture
from runners.report.report import Report


def system_report(title: str, config: Mapping[str, Any], comparison: Comparison) -> Report:
    """All rows, and the solution that errors are measured against. ``config`` is the resolved one."""
    rows = [comparison.record(row) for row in comparison.rows]
    traces = {row.label: row.trace for row in comparison.rows if row.trace is not None}
    leaves = jax.tree_util.tree_leaves_with_path(comparison.reference)
    draw = partial(convergence_figure, traces, rows, title, comparison.reference_label)
    by = {"step": "num_steps", "time": "time_s"} if traces else {}
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
            "solution.npz": {f"x{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves},
            "traces.npz": to_files(traces),
        },
        artifacts=[Picture(f"convergence_by_{name}.png", partial(draw, x)) for name, x in by.items()],
        tables=[comparison_table(comparison, title)],
        sentences=[skipped.sentence for skipped in comparison.skipped],
        failure=comparison.complaint,
        interrupted=comparison.interrupted,
    )
