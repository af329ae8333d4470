"""What a run found, as one value: experiments make it, and ``runners.cli.publish`` alone writes and prints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from runners.report.table import ResultTable


class Artifact(Protocol):
    """Something to look at or to listen to that writes itself: a picture, sound, weights."""

    @property
    def name(self) -> str:
        """The name by which messages call it, mostly its file's."""

    @property
    def essential(self) -> bool:
        """Whether a run that cannot write it has failed; for a picture it is a warning."""

    def write(self, folder: Path) -> None:
        """Write one file or more into ``folder``."""


@dataclass(frozen=True)
class Report:
    """Everything that a run leaves behind."""

    kind: str  # which kind of experiment it is, as results.json says: the keys of ``record`` follow from it
    title: str  # the line above tables and pictures
    config: Mapping[str, Any]  # as resolved, every default filled in; it has the ``seed``
    record: Mapping[str, Any]  # results.json behind the header that all experiments share
    # By the name of an .npz file, its arrays by name. A file without arrays is not written.
    arrays: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    artifacts: Sequence[Artifact] = ()  # what else is written, after results.json and the arrays
    tables: Sequence[ResultTable] = ()  # printed in this order
    sentences: Sequence[str] = ()  # what came out, in words; printed below the tables, a line each
    mesh: Mapping[str, int] = field(default_factory=dict)  # how many devices shared each axis; empty: there was one
    failure: str | None = None  # what went wrong although there are results: said after them, with exit code 1
    interrupted: bool = False  # the results are of what was done before Ctrl-C, and the exit code says so
    # What waits until the results are on disk, such as the removal of a training's state: called in this order with the
    # folder where they are, and not at all where an essential artifact could not be written, or Ctrl-C came before all
    # were.
    afterwards: Sequence[Callable[[Path], None]] = ()
