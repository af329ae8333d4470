"""What every runner is: a config schema, a context, and the two ways in which a run can go wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rich.console import Console

from runners.config.schema import RunConfig


class RunFailure(RuntimeError):
    """The run itself failed (exit code 1): the message is the sentence for the user."""


@dataclass(frozen=True)
class RunContext:
    """What the command line adds to a config."""

    runner: str
    name: str  # the config's name, without folder and suffix
    out: Path  # where results go
    console: Console  # messages and progress, on standard error; tables go to standard output


class Runner(Protocol):
    """An experiment."""

    Config: ClassVar[type[RunConfig]]

    def __init__(self, config: Any, context: RunContext) -> None:
        """Take a checked config."""

    def run(self) -> None:
        """Do it; raise RunFailure where it fails, UsageError where the config asks for what cannot be had."""
