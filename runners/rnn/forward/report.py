"""What an experiment on forward passes leaves behind: results, traces and pictures, in a folder that appears whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.files import replaced_folder
from runners.cli.publish import write_json
from runners.experiment import RunContext
from runners.report.environment import describe_environment
from runners.rnn.forward.experiment import ForwardResult
from runners.rnn.forward.figures import XAxis, YAxis, growth_figure, lyapunov_figure

SCHEMA = 1
# The pictures of growth: file, what is on the x axis, what on the y axis.
GROWTH: tuple[tuple[str, XAxis, YAxis], ...] = (
    ("time_by_length.png", "num_equations", "time"),
    ("steps_by_length.png", "num_equations", "steps"),
    ("time_by_state_size.png", "state_size", "time"),
    ("memory_by_state_size.png", "state_size", "memory"),
)


def write_forward_report(
    context: RunContext, seed: int, config: Mapping[str, Any], outcomes: Sequence[ForwardResult]
) -> None:
    """Write everything to ``context.out``, which keeps its old content until all of the new is there."""
    experiments = [outcome.record for outcome in outcomes]
    record = {
        "schema": SCHEMA,
        "name": context.name,
        "runner": context.runner,
        "config": dict(config),
        "seed": seed,
        **describe_environment(),
        "experiments": experiments,
    }
    traces = {key: array for outcome in outcomes for key, array in outcome.traces.items()}
    with replaced_folder(context.out) as folder:
        write_json(folder / "results.json", record)
        if traces:
            np.savez_compressed(folder / "traces.npz", **traces)  # type: ignore[arg-type]
        for name, x, y in GROWTH:
            growth_figure(folder / name, experiments, x, y, context.name)
        lyapunov_figure(folder / "lyapunov.png", experiments, context.name)
