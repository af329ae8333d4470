"""Consoles, and progress on that of standard error: tables and sentences go to standard output."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def silence(stream: IO[str]) -> None:
    """Let what is written to a stream go nowhere from now on: whoever read it has seen enough."""
    with suppress(OSError):  # no file of the system's
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class TextConsole(Console):
    """A console that takes text as it is, and that goes on in silence where its reader is gone."""

    def __init__(self, **options: Any) -> None:
        """``options`` are rich's."""
        super().__init__(**options, highlight=False, markup=False)

    def on_broken_pipe(self) -> None:
        """Go on, where rich would end the program."""
        self.quiet = True
        silence(self.file)


class LiveProgress(Progress):
    """Bars that are shown while a block runs, on a terminal alone; they stay as they stand."""

    def __init__(self, console: Console, *columns: ProgressColumn, transient: bool = False) -> None:
        """``columns`` are the parts of each bar, from left to right; bars that are transient disappear at the end."""
        super().__init__(*columns, console=console, transient=transient, disable=not console.is_terminal)

    def say(self, message: str) -> None:
        """Print a line, of which nothing is taken for markup."""
        self.console.print(message, highlight=False, soft_wrap=True, markup=False)


@contextmanager
def counting_bar(console: Console, what: str, total: int) -> Iterator[Progress]:
    """A bar that counts to ``total`` and disappears; nothing where the console is no terminal.

    ``bar.advance(bar.task_ids[0])`` counts one.
    """
    with LiveProgress(
        console,
        TextColumn("{task.description:<12}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        transient=True,
    ) as bar:
        bar.add_task(what, total=total)
        yield bar
