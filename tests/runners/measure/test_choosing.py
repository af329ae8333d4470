"""``auto`` in the place of a solver: what is decided, kept and said."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from runners.config.schema import UsageError
from runners.config.solvers import labels, parse_entries, parse_entry
from runners.measure import choosing
from runners.measure.comparison import compare_solvers
from solvers import SOLVERS, Jacobi
from tests.kit.bank import tiny_made

AUTO = {"name": "auto", "objective": "steps", "budget_s": 0.05}


def decide(entries, system):
    parsed = parse_entries(entries)
    said = io.StringIO()
    console = Console(file=said, width=200)
    return choosing.decided(dict(zip(labels(parsed), parsed, strict=True)), system, console), said.getvalue()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRISOLVE_CACHE", str(tmp_path))
    return tmp_path / choosing.FOLDER


def test_a_decision_is_kept_and_read_again(own_cache, monkeypatch) -> None:
    system = tiny_made(8, 2, 0)
    first, said = decide([AUTO, "jacobi"], system)
    assert first["jacobi"].choice is None
    assert first["auto"].solver == first["auto"].choice.solver
    assert f"auto: {first['auto'].choice.label}, chosen by" in said
    (kept,) = own_cache.iterdir()

    second, said = decide([AUTO, "jacobi"], tiny_made(8, 2, 1))  # other values, in the same run
    assert "in an earlier run" not in said
    monkeypatch.setattr(choosing.os, "getpid", lambda: -1)
    monkeypatch.setattr(choosing, "choose", lambda *_, **__: pytest.fail("decided anew"))
    again, said = decide([AUTO, "jacobi"], tiny_made(8, 2, 1))  # other values, the same shapes
    assert again["auto"].solver == second["auto"].solver
    assert "in an earlier run" in said

    monkeypatch.undo()
    monkeypatch.setenv("TRISOLVE_CACHE", str(own_cache.parent))
    kept.write_text('{"solver": "jaco')
    assert "in an earlier run" not in decide([AUTO], system)[1]
    decide([AUTO], tiny_made(9, 2, 0))
    decide([{**AUTO, "without": ["jacobi"]}], system)
    assert len(list(own_cache.iterdir())) == 4


def test_a_comparison_has_what_was_predicted_beside_what_it_took(own_cache) -> None:
    parsed = parse_entries(["cached_sequential", "jacobi", AUTO])
    found = compare_solvers(
        tiny_made(8, 2, 0),
        dict(zip(labels(parsed), parsed, strict=True)),
        repeats=1,
        time_limit_s=None,
        trace=False,
        console=Console(file=io.StringIO()),
    )
    row = found.rows[2]
    record = found.record(row)
    assert (record["label"], record["solver"]) == ("auto", row.entry.name)
    assert record["solver"] != "auto"
    told = {each["label"]: each for each in record["choice"]["predictions"]}
    assert told[record["choice"]["solver"]]["num_steps"] == record["num_steps"]
    assert [line for line in found.sentences if line.startswith(f"auto chose {record['choice']['solver']}: ")]
    (table,) = choosing.prediction_tables(found.rows)
    by_name = {cells[0]: cells for cells in table.rows}
    assert by_name["cached_sequential"][2] == "8"
    others = by_name.keys() - {"cached_sequential", "jacobi", record["choice"]["solver"]}
    assert {by_name[label][2] for label in others} == {"-"}
    assert table.rows[table.best][0] == record["choice"]["solver"]
    assert "choice" not in found.record(found.rows[0])


def test_auto_is_refused_where_it_makes_no_sense(monkeypatch) -> None:
    with pytest.raises(ValueError, match="objective should be 'time', 'steps' or 'memory', not 'speed'"):
        parse_entry({"name": "auto", "objective": "speed"})
    with pytest.raises(ValueError, match="unknown solver 'jacoby'; did you mean 'jacobi'"):
        parse_entry({"name": "auto", "without": ["jacoby"]})
    with pytest.raises(ValueError, match="unknown inner solver 'auto'"):
        parse_entry({"name": "segmented", "solver": "auto"})
    for option in ({"max_steps": 3}, {"stop": {"max_steps": 3}}):
        with pytest.raises(ValueError, match="solver auto: stop and max_steps go with a solver that is named"):
            parse_entry({"name": "auto", **option})
    none = [{**AUTO, "without": [name for name in SOLVERS if name != "jacobi"]}, "cached_sequential"]
    parsed = parse_entries(none)
    entries = dict(zip(labels(parsed), parsed, strict=True))
    with pytest.raises(UsageError, match="solver auto: no solver is left for AutoregressiveSystem"):
        choosing.decided(entries, tiny_made(8, 2, 0), Console(file=io.StringIO()), lambda _, entry: "too long")
    with pytest.raises(TypeError, match="auto is not a solver yet"):
        parse_entry("auto").solver.step(None, None, None, None)
    assert parse_entry("auto").record["objective"] == "time"
    monkeypatch.setattr(choosing, "several", lambda: True)
    with pytest.raises(UsageError, match="solver auto runs in one process"):
        decide([AUTO], tiny_made(8, 2, 0))
    assert decide(["jacobi"], tiny_made(8, 2, 0))[0]["jacobi"].solver == Jacobi()
