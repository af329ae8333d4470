"""An experiment on forward passes as a report: every cell at every length and state size, and growth in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.rnn.forward.config import ForwardRNNConfig
from runners.rnn.forward.experiment import ForwardResult
from runners.rnn.forward.figures import GrowthAxis, Quantity, growth_figure, lyapunov_figure

# The pictures of growth: file, what is on the x axis, what on the y axis.
_GROWTH: tuple[tuple[str, GrowthAxis, Quantity], ...] = (
    ("time_by_length.png", "num_equations", "time"),
    ("steps_by_length.png", "num_equations", "steps"),
    ("time_by_state_size.png", "state_size", "time"),
    ("memory_by_state_size.png", "state_size", "memory"),
)


def forward_report(name: str, config: ForwardRNNConfig, results: Sequence[ForwardResult]) -> Report:
    """Say what was found in the run called ``name``."""
    experiments = [result.record for result in results]
    return Report(
        kind="forward_rnn",
        title=name,
        config=config.model_dump(),
        record={"experiments": experiments},
        arrays={"traces.npz": {key: array for result in results for key, array in result.traces.items()}},
        artifacts=[
            *(Picture(file, partial(growth_figure, experiments, x, y, name)) for file, x, y in _GROWTH),
            Picture("lyapunov.png", partial(lyapunov_figure, experiments, name)),
        ],
        tables=[
            result.measured.table(f"{result.experiment.title}, batch {result.experiment.batch_size}")
            for result in results
        ],
        failure=_failure(results),
    )


def _failure(results: Sequence[ForwardResult]) -> str | None:
    """The first experiment in which a solver could not be measured, or whose exact solution was not found."""
    failures = ((result.experiment.title, result.measured.failure) for result in results)
    return next((f"{title}: {failure}" for title, failure in failures if failure), None)
