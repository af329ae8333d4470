"""Solvers of somebody else's, as if they had a line in the table."""

from __future__ import annotations

from types import MappingProxyType

import pytest

import solvers.table
from runners.config.solvers import SOLVERS
from solvers import Solver


def in_the_table(monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Solver]) -> None:
    """Give a solver a name for the rest of a test: the library's and that of configs."""
    monkeypatch.setattr(solvers.table, "SOLVERS", MappingProxyType({**solvers.table.SOLVERS, name: kind}))
    monkeypatch.setitem(SOLVERS.places, name, f"{kind.__module__}:{kind.__qualname__}")
