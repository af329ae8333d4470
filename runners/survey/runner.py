"""Many systems of order one under one list of solvers, beside their Lyapunov exponents: when does it pay?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from runners.config.schema import RunConfig, UsageError
from runners.config.solvers import fit_entries, labels, refusal
from runners.config.systems import make_system, with_defaults
from runners.experiment import RunContext
from runners.measure.devices import Devices
from runners.measure.interrupt import KeepingDone
from runners.measure.order_one import OrderOneConfig, measure_order_one
from runners.report.report import Report
from runners.survey.report import Surveyed, survey_report
from solvers import MarkovSystem


class SurveyConfig(OrderOneConfig):
    """Which systems, and the solvers that each of them is solved by."""

    shares_devices: ClassVar[bool] = True

    # By the name that tables and pictures give them: {name: pendulum, ...options}, one of models.PROBLEMS, or
    # {path: my_system.py, name: make_system, ...options}, whose file is run as code. Lengths are theirs.
    systems: Annotated[dict[str, Annotated[dict[str, Any], AfterValidator(with_defaults)]], Field(min_length=1)]


class SurveyRunner:
    """Every system by every solver that goes with it, and a table of what wins where."""

    Config: ClassVar[type[RunConfig]] = SurveyConfig

    def __init__(self, config: SurveyConfig, context: RunContext) -> None:
        """Make all systems; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.systems = {label: make_system(options, config.seed) for label, options in config.systems.items()}
        for label, system in self.systems.items():
            if not isinstance(system, MarkovSystem):
                raise UsageError(f"systems.{label}: {type(system).__name__} is not of order one; see SystemRunner")
        self.devices = _alike([Devices.for_system(config.mesh, system) for system in self.systems.values()])
        for entry in config.solvers:
            if all(refusal(entry, system) for system in self.systems.values()):
                fit_entries([entry], next(iter(self.systems.values())))

    def run(self) -> Report:
        """Solve them all; the report fails where an exact solution is not finite. Ctrl-C keeps what was done."""
        found: list[Surveyed] = []
        entries = dict(zip(labels(self.config.solvers), self.config.solvers, strict=True))
        with KeepingDone(found) as run:
            for label, system in self.systems.items():
                self.context.say(f"{label}:")
                measured = measure_order_one(self.devices.divide(system), entries, self.config, self.context.console)
                found.append(Surveyed(label, self.config.systems[label], measured))
                if measured.comparison.interrupted:
                    raise KeyboardInterrupt
        report = survey_report(self.context.name, self.config.model_dump(), found)
        return dataclasses.replace(run.told(report), mesh=self.devices.record)


def _alike(devices: Sequence[Devices]) -> Devices:
    """The devices of all systems: where the batches of some are not divided by the default, none is."""
    return devices[0] if all(each.record == devices[0].record for each in devices) else Devices()
