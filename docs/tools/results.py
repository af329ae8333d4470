"""The results that ship, as tables of the documentation read them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from common.paths import REFERENCE

Row = Mapping[str, Any]


def results(config: str) -> dict[str, Any]:
    """The results of a shipped config."""
    found: dict[str, Any] = json.loads((REFERENCE / config / "results.json").read_text())
    return found


def is_cached(row: Row) -> bool:
    """Whether the row is of forward substitution with a cache, in one piece or segment by segment."""
    return bool(re.match(r"cached_sequential|segmented\(solver=cached_sequential", row["label"]))


def is_parallel(row: Row) -> bool:
    """Whether the row is of a parallel solver."""
    return not is_cached(row) and row["solver"] != "sequential"


def median(row: Row) -> float:
    """The time of a run, in seconds."""
    return float(row["run_s"]["median"])


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
