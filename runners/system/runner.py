"""Solve a system by any list of solvers: same equations, same answer, different times."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from runners.config.schema import Count, RunConfig
from runners.config.solvers import SolverList, fit_entries, labels
from runners.config.systems import make_system, with_defaults
from runners.experiment import RunContext
from runners.measure.comparison import Comparison, compare_solvers
from runners.measure.devices import Devices
from runners.report.report import Report
from runners.system.report import system_report


class SystemConfig(RunConfig):
    """Which equations, and the solvers that are compared on them."""

    shares_devices: ClassVar[bool] = True

    # {name: lorenz63, ...options}, one of models.PROBLEMS; or {path: my_system.py, name: make_system, ...options}: a
    # function or a class in a file beside the config, which is called with the options, and with the seed where it
    # takes one. The file is run as code.
    system: Annotated[dict[str, Any], AfterValidator(with_defaults)]
    # Each {name: ..., options}, or of one's own {path: my_solver.py, name: MySolver, ...options}; max_steps, repeats
    # and trace are options of every solver. The first sequential one is the reference for errors.
    solvers: SolverList
    repeats: Count = 5  # timed runs of each solver, after one that is not (unless it is long)
    time_limit_s: Annotated[float, Field(gt=0)] | None = None  # for each run of each solver
    trace: bool = True  # residual, frontier and error by step, and the pictures made of them


class SystemRunner:
    """Any system of equations, by name or from a file of your own, solved by any list of solvers."""

    Config: ClassVar[type[RunConfig]] = SystemConfig

    def __init__(self, config: SystemConfig, context: RunContext) -> None:
        """Make the system; everything that can be refused is refused here."""
        self.context = context
        self.system = make_system(config.system, config.seed)
        self.devices = Devices.for_system(config.mesh, self.system)
        self.config = config.model_copy(update={"solvers": fit_entries(config.solvers, self.system)})

    @classmethod
    def to_check(cls, config: SystemConfig, context: RunContext) -> tuple[str, Any]:
        """The system, by the name of what makes it."""
        return str(config.system.get("name")), make_system(config.system, config.seed)

    def run(self) -> Report:
        """Compare the solvers; the report fails where one did not converge."""
        config: SystemConfig = self.config
        comparison = compare_solvers(
            self.devices.divide(self.system),
            dict(zip(labels(config.solvers), config.solvers, strict=True)),
            repeats=config.repeats,
            time_limit_s=config.time_limit_s,
            trace=config.trace,
            console=self.context.console,
        )
        return dataclasses.replace(self.report(comparison), mesh=self.devices.record)

    def report(self, comparison: Comparison) -> Report:
        """What was found, with the solution."""
        title = f"{self.context.name}: {self.config.system['name']}, T = {comparison.num_equations}"
        return system_report(title, self.config.model_dump(), comparison)
