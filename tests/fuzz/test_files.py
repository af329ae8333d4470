"""Damaged files of every format: the same as ``python -m tests.fuzz.files``, fewer."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.files import fuzz


def test_damaged_files_are_refused_or_read_right(tmp_path: Path) -> None:
    outcomes, faults = fuzz(1000, 0, tmp_path)
    assert faults == []
    assert all(counts["refused"] for counts in outcomes.values())
