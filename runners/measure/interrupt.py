"""Ctrl-C or a failure in the middle of an experiment: what was done before it is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sized
from types import TracebackType

from runners.experiment import RunFailure
from runners.measure.processes import several
from runners.report.report import Report


class KeepingDone:
    """A context that ends at Ctrl-C or RunFailure where some results are there; where there are none they go through.

    Of several processes each is told of Ctrl-C at another moment, and they have not all done the same: it goes through.

    ``with KeepingDone(rows) as run:`` around what fills ``rows``; afterwards ``run.told(report)`` says so.
    """

    def __init__(self, results: Sized) -> None:
        """Keep what is in ``results`` when the interruption or the failure comes."""
        self._results = results
        self.interrupted = False
        self.failure: str | None = None  # the sentence of a RunFailure

    def __enter__(self) -> KeepingDone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if len(self._results) > 0:
            self.interrupted = isinstance(error, KeyboardInterrupt) and not several()
            self.failure = str(error) if isinstance(error, RunFailure) else None
        return self.interrupted or self.failure is not None

    def told(self, report: Report) -> Report:
        """The report of what was kept, which says that the rest is missing, and why."""
        failures = [failure for failure in (report.failure, self.failure) if failure is not None]
        return dataclasses.replace(report, interrupted=self.interrupted, failure="; ".join(failures) or None)
