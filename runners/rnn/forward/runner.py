"""The forward pass of RNNs under any list of solvers: how they grow with length and state size, and when they pay.

For every experiment the largest Lyapunov exponent is estimated along the exact solution. Where it is positive the
dynamics are chaotic, and no solver is blamed for what it does there: that is the finding.
"""

from __future__ import annotations

from typing import Any, ClassVar

from common.options import build_options
from models.rnn.model import RNNConfig
from runners.config.schema import RunConfig, UsageError
from runners.config.solvers import labels
from runners.experiment import RunContext, RunFailure
from runners.measure.table import comparison_table
from runners.report.console import output_console
from runners.rnn.forward.config import ForwardRNNConfig
from runners.rnn.forward.experiment import Experiment, ForwardResult, run_experiment
from runners.rnn.forward.limits import Limits
from runners.rnn.forward.report import write_forward_report
from solvers import PairingError, Status, check_pairing


class ForwardRNNRunner:
    """All cells of a config at all their lengths and state sizes."""

    Config: ClassVar[type[RunConfig]] = ForwardRNNConfig

    def __init__(self, config: ForwardRNNConfig, context: RunContext) -> None:
        """State every experiment; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.experiments = [self._experiment(cell, *point) for cell in config.cells for point in config.points(cell)]
        smallest = min(self.experiments, key=lambda experiment: experiment.num_equations)
        for entry in config.solvers:
            try:
                check_pairing(smallest.system(config.seed), entry.solver)
            except PairingError as error:
                raise UsageError(f"solver {entry.name}: {error}") from None

    def run(self) -> None:
        """Run them, print a table each, write the results; RunFailure where an exact solution is not finite."""
        outcomes = [self._run(experiment) for experiment in self.experiments]
        resolved = self._resolved()
        write_forward_report(self.context, self.config.seed, resolved, outcomes)
        self.context.console.print(f"results in {self.context.out}")
        for outcome in outcomes:
            row = outcome.baseline
            if row.status is not Status.CONVERGED:
                raise RunFailure(f"{outcome.experiment.title}: {row.label}: {row.status.sentence}")

    def _experiment(self, cell: str, length: int, size: int) -> Experiment:
        config, entry = self.config, self.config.cells[cell]
        sizes = {"num_inputs": config.num_inputs, "hidden_size": size, "num_outputs": 1}
        try:
            network = build_options(RNNConfig, {**entry.network, **sizes})
        except ValueError as error:
            raise UsageError(f"cells.{cell}.network: {error}") from None
        return Experiment(cell, network, length, config.batch_size, entry.input_scale)

    def _run(self, experiment: Experiment) -> ForwardResult:
        config, console = self.config, self.context.console
        chosen = config.entries(experiment.cell)
        names = dict(zip(labels(config.solvers), config.solvers, strict=True))
        console.print(f"{experiment.title}:", highlight=False)
        outcome = run_experiment(
            experiment,
            {label: entry for label, entry in names.items() if entry in chosen},
            seed=config.seed,
            repeats=config.repeats,
            trace=config.trace,
            limits=Limits(config.time_limit_s, config.memory_limit_mib, config.sequential_max_length),
            console=console,
        )
        self._tell(outcome)
        return outcome

    def _tell(self, outcome: ForwardResult) -> None:
        """The table of one experiment, what its dynamics mean, what was left out, and what is odd."""
        comparison_table(
            outcome.comparison, f"{outcome.experiment.title}, batch {outcome.experiment.batch_size}"
        ).print(output_console())
        print(outcome.record["advice"])
        for skipped in outcome.comparison.skipped:
            print(skipped.sentence)
        for row in outcome.surprises:
            warning = f"warning: {outcome.experiment.title}: {row.label}: {row.status.sentence}"
            self.context.console.print(warning, highlight=False, soft_wrap=True)

    def _resolved(self) -> dict[str, Any]:
        """The config with every default filled in."""
        return {
            **self.config.model_dump(exclude={"solvers"}),
            "solvers": [entry.record for entry in self.config.solvers],
        }
