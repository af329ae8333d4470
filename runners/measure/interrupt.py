"""Ctrl-C in the middle of an experiment: what was done before it is kept."""

from __future__ import annotations

from collections.abc import Sized
from types import TracebackType


class KeepingDone:
    """A context that ends at Ctrl-C where some results are there, and says so; where there are none it lets it through.

    ``with KeepingDone(rows) as run:`` around what fills ``rows``; afterwards ``run.interrupted`` goes into the report.
    """

    def __init__(self, results: Sized) -> None:
        """Keep what is in ``results`` when the interruption comes."""
        self._results = results
        self.interrupted = False

    def __enter__(self) -> KeepingDone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.interrupted = isinstance(error, KeyboardInterrupt) and len(self._results) > 0
        return self.interrupted
