"""What an experiment is: a schema of its config, a constructor that refuses, and a run that gives a report."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from rich.console import Console

from runners.config.schema import RunConfig
from runners.report.report import Report


class RunFailure(RuntimeError):
    """The run itself failed (exit code 1): the message is the sentence for the user."""


@dataclass(frozen=True)
class RunContext:
    """What the command line adds to a config."""

    runner: str
    name: str  # the config's name, without folder and suffix
    out: Path  # where results go
    console: Console  # messages and progress, on standard error; tables go to standard output
    all_columns: bool = False  # of tables, also those that do not fit the terminal
    began: float = field(default_factory=time.perf_counter)  # when, on that clock

    def say(self, message: str) -> None:
        """Print a message, of which nothing is taken for markup."""
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)


class Runner(Protocol):
    """An experiment."""

    Config: ClassVar[type[RunConfig]]

    def __init__(self, config: Any, context: RunContext) -> None:
        """Take a checked config; raise UserError where it asks for what cannot be had."""

    def run(self) -> Report:
        """Do it; raise RunFailure where it fails so early that there is nothing to report."""


@runtime_checkable
class Checkable(Protocol):
    """A runner whose config names a model or a system that has a contract to keep."""

    @classmethod
    def to_check(cls, config: Any, context: RunContext) -> tuple[str, Any]:
        """The model or the system, and what it is called. Raises UserError where it cannot be had."""
