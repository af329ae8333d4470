"""Tables of names import on access and answer a wrong name with the nearest one."""

from __future__ import annotations

import sys

import pytest

from common.errors import UserError
from common.table import Table

FRUIT: Table[type] = Table(
    "number", {"fraction": "fractions:Fraction", "decimal": "decimal:Decimal", "none": "none_:X"}
)


def test_a_name_is_imported_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fractions", raising=False)
    assert list(FRUIT) == ["fraction", "decimal", "none"]
    assert "fraction" in FRUIT
    assert "fractions" not in sys.modules
    assert FRUIT["fraction"](1, 2) == 0.5
    assert len(FRUIT) == 3


@pytest.mark.parametrize("name", ["fractoin", "", None, 3, ["fraction"]])
def test_a_wrong_name_is_answered_with_the_nearest(name: object) -> None:
    assert name not in FRUIT
    assert FRUIT.get(name, int) is int
    with pytest.raises(UserError, match=r"^unknown number ['\"].*['\"]; .*valid: .*decimal"):
        FRUIT[name]
    with pytest.raises(KeyError):
        FRUIT[name]


def test_the_nearest_is_named() -> None:
    with pytest.raises(UserError, match="^unknown number 'fractoin'; did you mean 'fraction'"):
        FRUIT["fractoin"]


def test_a_class_finds_its_name() -> None:
    from decimal import Decimal

    assert Table("number", {"whole": "builtins:int"}).name_of(int) == "whole"
    assert FRUIT.name_of(Decimal) == "decimal"
    assert FRUIT.name_of(str) is None


def test_tables_add_up() -> None:
    both = Table("number", {"whole": "builtins:int"}) | FRUIT
    assert (both.kind, both["whole"], len(both)) == ("number", int, 4)
