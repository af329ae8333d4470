"""What was found on many systems, as a report: what wins where, and pictures over the Lyapunov exponent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from runners.measure.job import Row
from runners.measure.order_one import OrderOneResult
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Cells, Column, ResultTable
from runners.report.units import format_seconds
from runners.survey.figures import survey_figure
from solvers import Status
from solvers.lyapunov import pays


@dataclass(frozen=True)
class Surveyed:
    """All that was measured on one system, and what its config says of it."""

    label: str
    options: Mapping[str, Any]
    measured: OrderOneResult

    @property
    def parallel(self) -> list[Row]:
        """The rows that converged in fewer steps than there are equations."""
        comparison = self.measured.comparison
        done = [row for row in comparison.rows if row.status is Status.CONVERGED]
        return [row for row in done if row.num_steps < comparison.num_equations]

    @property
    def record(self) -> dict[str, Any]:
        """As results.json holds it: fewest steps, and least time, of the parallel solvers."""
        fewest = min(self.parallel, key=lambda row: row.num_steps, default=None)
        fastest = min(self.parallel, key=lambda row: row.run_s.median, default=None)
        return {
            "label": self.label,
            "system": dict(self.options),
            **self.measured.record,
            "fewest_steps": fewest and {"label": fewest.label, "num_steps": fewest.num_steps},
            "least_time": fastest
            and {
                "label": fastest.label,
                "median_s": fastest.run_s.median,
                "time_over_scan": fastest.run_s.median / self.measured.baseline.run_s.median,
            },
        }


_CELLS: Cells = (
    (Column("system", align="left"), lambda system: system["label"]),
    (Column("T", drop=3), lambda system: f"{system['num_equations']:,}"),
    (Column("features", drop=1), lambda system: str(system["features"])),
    (Column("exponent"), lambda system: f"{system['lyapunov']:+.3f}"),
    (Column("fewest steps", align="left"), lambda system: _of(system["fewest_steps"], "num_steps", str)),
    (Column("least time", align="left"), lambda system: _of(system["least_time"], "median_s", format_seconds)),
    (Column("over scan"), lambda system: _of(system["least_time"], "time_over_scan", "{:.2g}x".format, named=False)),
    (Column("pays", drop=2), lambda system: "yes" if pays(system["lyapunov"]) else "no"),
)
_NOTE = (
    "exponent: largest Lyapunov exponent per equation, of the batch; fewest steps, least time: of the solvers that "
    "take fewer steps than there are equations; over scan: that time over that of one compiled loop; pays: whether "
    "deviations fade, so that few steps can do."
)


def _of(found: Mapping[str, Any] | None, key: str, say: Any, *, named: bool = True) -> str:
    """A winner's number in words, and which solver it is."""
    if found is None:
        return "-"
    return f"{say(found[key])}, {found['label']}" if named else str(say(found[key]))


def survey_report(name: str, config: Mapping[str, Any], found: Sequence[Surveyed]) -> Report:
    """Say what was found in the run called ``name``; ``config`` is the resolved one."""
    systems = [each.record for each in found]
    failures = ((each.label, each.measured.failure) for each in found)
    return Report(
        kind="survey",
        title=name,
        config=config,
        record={"systems": systems},
        arrays={"traces.npz": {f"{each.label}/{key}": a for each in found for key, a in each.measured.traces.items()}},
        artifacts=[Picture("when_it_pays.png", partial(survey_figure, systems, name))],
        tables=[
            *(each.measured.table(each.label) for each in found),
            ResultTable.of("what wins where", _CELLS, systems, note=_NOTE),
        ],
        failure=next((f"{label}: {failure}" for label, failure in failures if failure), None),
    )
