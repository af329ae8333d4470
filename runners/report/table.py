"""Tables of results for a console: no cell wraps, and columns make room where the console is narrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from runners.report.console import TextConsole

_UNBOUNDED = 10_000  # wider than any table


@dataclass(frozen=True)
class Column:
    """A column's heading, and when it makes room: those of the lowest ``drop`` first, those of 0 never."""

    name: str
    drop: int = 0
    align: Literal["left", "right"] = "right"


Cells: TypeAlias = Sequence[tuple[Column, Callable[[Any], str]]]  # each column, and its text for a row's subject


@dataclass(frozen=True)
class ResultTable:
    """Rows of cells under their headings."""

    title: str  # the line above
    columns: Sequence[Column]  # from left to right
    rows: Sequence[Sequence[str]]  # a text for each column
    best: int | None = None  # the row that is marked with a star and in bold, if any
    note: str = ""  # how to read it; printed below

    @classmethod
    def of(cls, title: str, cells: Cells, rows: Iterable[Any], best: int | None = None, note: str = "") -> ResultTable:
        """The table of ``rows`` that are not texts so far: each column comes with how it says a row."""
        columns, texts = [column for column, _ in cells], [[text(row) for _, text in cells] for row in rows]
        return cls(title, columns, texts, best, note)

    def print(self, console: Console, *, all_columns: bool = False) -> None:
        """Print as many columns as fit, or all of them; the text of a cell is never taken for markup."""
        if all_columns or not console.is_terminal:
            kept = list(range(len(self.columns)))
            wide = TextConsole(file=console.file, width=max(console.width, self._width(console, kept)))
            wide.print(self._rich(kept), no_wrap=True, crop=False)
        else:
            kept = self._fitting(console)
            console.print(self._rich(kept))
        left_out = [column.name for i, column in enumerate(self.columns) if i not in kept]
        if left_out:
            console.print(Text(f"no room for {', '.join(left_out)}: see results.json, or --verbose debug"))
        if self.note:
            console.print(Text(self.note))

    def _fitting(self, console: Console) -> list[int]:
        """The numbers of the columns that fit, after others have made room in their order."""
        kept = list(range(len(self.columns)))
        for i in sorted((i for i in kept if self.columns[i].drop), key=lambda i: self.columns[i].drop):
            if self._width(console, kept) <= console.width:
                break
            kept.remove(i)
        return kept

    def _width(self, console: Console, kept: Sequence[int]) -> int:
        options = console.options.update(width=_UNBOUNDED, max_width=_UNBOUNDED)
        return Measurement.get(console, options, self._rich(kept)).maximum

    def _rich(self, kept: Sequence[int]) -> Table:
        table = Table(title=Text(self.title), box=box.SIMPLE_HEAD, title_justify="left")
        for i in kept:
            column = self.columns[i]
            table.add_column(Text(column.name), justify=column.align, no_wrap=True)
        for number, row in enumerate(self.rows):
            best = number == self.best
            star = "" if self.best is None else "* " if best else "  "
            cells = [(star if i == 0 else "") + row[i] for i in kept]
            table.add_row(*map(Text, cells), style="bold green" if best else None)
        return table
