"""--list reads classes from their source, and says what Python says of them."""

from __future__ import annotations

import inspect

import pytest

from models import SYSTEMS
from runners import RUNNERS
from runners.cli.listing import solvable
from runners.cli.source import Place, classes_in, first_sentence, value_of
from solvers import SOLVERS, FunctionSystem, fits


def test_solvers_go_with_the_systems_that_have_what_they_need() -> None:
    found = {name: (needed, systems) for name, needed, systems in solvable()}
    assert list(found) == list(SOLVERS)
    for name, kind in SOLVERS.items():
        needed, systems = found[name]
        assert needed == kind.requires.__name__
        wanted = [system for system, of in SYSTEMS.items() if fits(kind, of)]
        assert [system for system in systems if system in SYSTEMS] == wanted
        assert (len(systems) > len(wanted)) == fits(kind, FunctionSystem)


def test_the_sentences_of_runners_are_those_of_their_classes() -> None:
    for name, place in RUNNERS.places.items():
        assert first_sentence(Place.of(place)) == (inspect.getdoc(RUNNERS[name]) or "").split("\n")[0] != ""


def test_what_the_source_does_not_say_is_an_error() -> None:
    with pytest.raises(LookupError, match="Jacobi has no colour"):
        value_of(Place("solvers.methods.jacobi", "Jacobi"), "colour")
    with pytest.raises(LookupError, match="solvers.table has no METHODS"):
        classes_in(Place("solvers.table", "METHODS"))
    assert first_sentence(Place("solvers.table", "Nothing")) == ""
