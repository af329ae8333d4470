"""Verdicts as a report: tables, sentences, pictures, and what makes the comparison fail."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from runners.compare.figures import comparison_figure
from runners.compare.inputs import settings_table
from runners.compare.verdict import RowPair, Verdict
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Cells, Column, ResultTable
from runners.report.units import format_seconds

KIND = "comparison"
_SHOWN = 3  # complaints that the sentence of a failure has; all are above it


def comparison_report(verdicts: Sequence[Verdict]) -> Report:
    """The report of one verdict or more."""
    complaints = [f"{verdict.title}: {text}" for verdict in verdicts for text in verdict.complaints]
    more = f"; and {len(complaints) - _SHOWN} more" if len(complaints) > _SHOWN else ""
    folders = [str(run.folder) for verdict in verdicts for run in verdict.runs]
    return Report(
        kind=KIND,
        title=", ".join(verdict.title for verdict in verdicts),
        config={"folders": folders, "seed": verdicts[0].runs[0].record.get("seed")},
        record={"comparisons": [verdict.record for verdict in verdicts]},
        artifacts=[
            Picture(
                "compare.png" if len(verdicts) == 1 else f"compare_{verdict.title}.png",
                partial(comparison_figure, verdict.record),
            )
            for verdict in verdicts
            if verdict.pairs
        ],
        tables=[table for verdict in verdicts for table in _tables(verdict)],
        sentences=[f"{verdict.title}: {text}" for verdict in verdicts for text in verdict.sentences] + complaints,
        failure=f"the same was asked, and the answer is another: {'; '.join(complaints[:_SHOWN])}{more}"
        if complaints
        else None,
    )


def _tables(verdict: Verdict) -> list[ResultTable]:
    runs = "; ".join(f"{name}: {run.folder}" for name, run in zip(verdict.names, verdict.runs, strict=True))
    several: Cells = ((Column("run", align="left"), lambda pair: pair.run),) if len(verdict.runs) > 2 else ()
    cells: Cells = (
        (Column("row", align="left"), lambda pair: pair.first.name),
        *several,
        (Column("status", drop=1, align="left"), _status),
        (Column("steps"), lambda pair: _both(_count(pair.first.steps), _count(pair.second.steps))),
        (Column("time", drop=3), lambda pair: _both(_time(pair.first.time_s), _time(pair.second.time_s))),
        (Column("time ratio"), lambda pair: "-" if pair.time_ratio is None else f"{pair.time_ratio:.2f}x"),
        (Column("error", drop=2), lambda pair: _both(_size(pair.first.error), _size(pair.second.error))),
    )
    rows = ResultTable.of(
        f"{verdict.title}: rows",
        cells,
        verdict.pairs,
        note=f"{runs}. What is the same in both stands once; time ratio: over the time of {verdict.names[0]}.",
    )
    return ([settings_table(verdict.settings, verdict.names)] if verdict.settings else []) + [rows]


def _status(pair: RowPair) -> str:
    return _both(pair.first.status or "-", pair.second.status or "-")


def _both(first: str, second: str) -> str:
    return first if first == second else f"{first} -> {second}"


def _count(steps: float | None) -> str:
    return "-" if steps is None else f"{steps:.6g}"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else format_seconds(seconds)


def _size(error: float | None) -> str:
    return "-" if error is None else f"{error:.1e}" if error else "0"
