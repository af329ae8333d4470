"""The forward pass of RNNs under any list of solvers: how they grow with length and state size, and when they pay.

For every experiment the largest Lyapunov exponent is estimated along the exact solution. Where it is positive the
dynamics are chaotic, and no solver is blamed for what it does there: that is the finding.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from common.options import build_options
from models.rnn.model import RNNConfig
from runners.config.schema import RunConfig, UsageError
from runners.config.solvers import fit_entries, refusal
from runners.experiment import RunContext
from runners.measure.interrupt import KeepingDone
from runners.report.report import Report
from runners.rnn.forward.config import ForwardRNNConfig
from runners.rnn.forward.experiment import Experiment, ForwardResult, run_experiment
from runners.rnn.forward.report import forward_report


class ForwardRNNRunner:
    """All cells of a config at all their lengths and state sizes."""

    Config: ClassVar[type[RunConfig]] = ForwardRNNConfig

    def __init__(self, config: ForwardRNNConfig, context: RunContext) -> None:
        """State every experiment; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.experiments = [self._experiment(cell, *point) for cell in config.cells for point in config.points(cell)]
        self.devices = [each.devices(config.mesh) for each in self.experiments]
        self._check_solvers()

    def run(self) -> Report:
        """Run them all; the report fails where an exact solution is not finite, and has what was done before Ctrl-C."""
        results: list[ForwardResult] = []
        with KeepingDone(results) as run:
            for experiment in self.experiments:
                results.append(self._run(experiment))
                if results[-1].measured.comparison.interrupted:
                    raise KeyboardInterrupt
        report = forward_report(self.context.name, self.config, results)
        return dataclasses.replace(run.told(report), mesh=self.devices[0].record)

    def _check_solvers(self) -> None:
        """Raise UsageError for a solver that goes with no cell's smallest system; it is left out of larger ones."""
        smallest: dict[str, Any] = {}
        for each in sorted(self.experiments, key=lambda each: each.num_equations * each.network.hidden_size):
            smallest.setdefault(each.cell, each)
        systems = [each.system(self.config.seed) for each in smallest.values()]
        for entry in self.config.solvers:
            if all(refusal(entry, system) for system in systems):
                fit_entries([entry], systems[0])

    def _experiment(self, cell: str, length: int, size: int) -> Experiment:
        config, entry = self.config, self.config.cells[cell]
        sizes = {"num_inputs": config.num_inputs, "hidden_size": size, "num_outputs": 1}
        try:
            network = build_options(RNNConfig, {**entry.network, **sizes})
        except ValueError as error:
            raise UsageError(f"cells.{cell}.network: {error}") from None
        return Experiment(cell, network, length, config.batch_size, entry.input_scale)

    def _run(self, experiment: Experiment) -> ForwardResult:
        self.context.say(f"{experiment.title}:")
        result = run_experiment(experiment, self.config, self.context.console)
        for row in result.measured.surprises:
            self.context.say(f"warning: {experiment.title}: {row.label}: {row.status.sentence}")
        return result
