"""Solvers of somebody else's, as if they had a line in the table."""

from __future__ import annotations

from types import MappingProxyType

import pytest

import solvers.table
from runners.cli import listing
from runners.config.solvers import SOLVERS
from solvers import Solver


def in_the_table(monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Solver]) -> None:
    """Give a solver a name for the rest of a test: the library's, which --list shows too, and that of configs."""
    library = MappingProxyType({**solvers.table.SOLVERS, name: kind})
    for module in (solvers.table, listing):
        monkeypatch.setattr(module, "SOLVERS", library)
    monkeypatch.setitem(SOLVERS.places, name, f"{kind.__module__}:{kind.__qualname__}")
