"""What runs leave behind: results.json, and tables as a terminal shows them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runners.report.table import ResultTable

OLD_RESULTS = '{"schema": 2, "runner": "an earlier one", "config": {}, "files": ["results.json"]}'


def read_results(folder: Path) -> dict[str, Any]:
    """The content of results.json; a NaN or an infinity in it would not be JSON."""
    record: dict[str, Any] = json.loads((folder / "results.json").read_text(), parse_constant=pytest.fail)
    return record


def terminal_lines(table: ResultTable, width: int = 80) -> list[str]:
    """A table's lines on a terminal of so many columns, without the note below it."""
    file = io.StringIO()
    table.print(Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def assert_readable(table: ResultTable, width: int = 80) -> None:
    """Every line fits, and no heading or cell that has not made room is cut."""
    lines = terminal_lines(table, width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    for i, column in enumerate(table.columns):
        if not column.drop:
            assert all(any(text in line for line in lines) for text in (column.name, *(row[i] for row in table.rows)))
