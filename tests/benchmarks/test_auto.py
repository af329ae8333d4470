"""What the benchmark of the choice makes of results: times of the best, and predictions that are near."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import auto
from benchmarks.auto import Found, Told, best_of, found_in, limits, repeats, rows_of, told_in


def row(label: str, seconds: float, more: Mapping[str, Any] = {}) -> dict[str, Any]:
    of_it = {"solver": label, "label": label, "options": {}, "status": "converged", "num_steps": 10}
    return {**of_it, "run_s": {"median": seconds, "n": 1}, **more}


def choice(solver: str, **steps: int) -> dict[str, Any]:
    told = [{"label": label, "basis": "measured", "num_steps": count} for label, count in steps.items()]
    return {"solver": solver, "pilot_s": 12.0, "predictions": told}


WITHOUT = ("sequential", "cached_sequential")
ROWS = [
    row("cached_sequential", 1.0),
    row("jacobi", 3.0),
    row("jacobi", 4.0, {"label": "auto", "choice": choice("jacobi", jacobi=13)}),
    row("anderson", 6.0, {"label": f"auto(without={WITHOUT})", "choice": choice("anderson")}),
]


def test_a_choice_is_held_against_the_best_that_it_may_take() -> None:
    free, withheld = found_in("made", ROWS)
    assert (free.best, free.ratio, free.withheld) == ("cached_sequential", 4.0, False)
    assert (withheld.best, withheld.ratio, withheld.withheld) == ("jacobi", 2.0, True)
    assert [limit.ratio for limit in limits([free, withheld], [])][:3] == [4.0, 2.0, 12.0]


@pytest.mark.parametrize(
    ("chosen", "best", "ratio"),
    [
        ("jacobi", "jacobi", 1.0),
        ("cached_sequential(tol=1e-06)", "cached_sequential", 1.0),
        ("segmented(solver=cached_sequential(tol=1e-05), tol=1e-05)", "segmented(solver=cached_sequential)", 1.0),
        ("jacobi(tol=1e-06)", "jacobi", 2.0),
        ("gs_jacobi(block_size=8)", "gs_jacobi", 2.0),
    ],
)
def test_one_program_is_as_fast_as_itself(chosen: str, best: str, ratio: float) -> None:
    assert Found("made", False, chosen, 2.0, best, 1.0, 0.0).ratio == ratio


def test_predictions_are_held_against_what_solvers_took() -> None:
    told = list(told_in("made", ROWS, [row("cached_sequential", 1.0, {"num_steps": 784})]))
    assert told == [Told("made", "jacobi", "measured", 13, 10)]
    assert told[0].good
    assert not Told("made", "jacobi", "modelled", 14, 10).good
    missed = Told("made", "jacobi", "modelled", 14, 10)
    assert [limit.ratio for limit in limits([], [*told, missed])[-2:]] == [0.5, 0.0]
    hurried = Told("made", "newton", "hurried", 4, 4)  # it was run to its end, though in a hurry
    assert [limit.ratio for limit in limits([], [missed, hurried])[-2:]] == [0.5, 0.0]


def test_what_was_run_before_and_after_a_training_is_two_systems() -> None:
    rows = [row("jacobi", 1.0, {"phase": phase}) for phase in ("start", "end")]
    assert list(rows_of({"rows": rows})) == [rows[:1], rows[1:]]
    assert list(rows_of({"systems": [{"rows": ROWS}]})) == [ROWS]


def test_the_fastest_are_run_as_often_as_there_is_time_for() -> None:
    entries = [{"name": name} for name in ("cached_sequential", "jacobi", "anderson")]
    assert best_of(entries, [*ROWS[:2], row("anderson", 7.0)]) == entries[:2]
    assert best_of(entries, [row("jacobi", 0.5), ROWS[0]]) == entries[1:2]
    assert repeats(entries[:2], ROWS) == 5
    assert repeats(entries[:2], [row("jacobi", 99.0)]) == 1
    assert repeats(entries[:2], [row("jacobi", 0.01)]) == 31


def test_cells_with_solvers_of_their_own_have_auto_among_them() -> None:
    cells = {"gru": {"network": {"cell": "gru"}}, "lru": {"network": {"cell": "lru"}, "solvers": ["newton", "elk"]}}
    found = auto.choosing(cells, ["cached_sequential", {"name": "newton", "jacobian": "system"}])
    assert found == {**cells, "lru": {"network": {"cell": "lru"}, "solvers": ["newton", "auto"]}}


def test_a_config_on_which_nothing_was_chosen_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "run", lambda *_: {"rows": ROWS[:2]})
    with pytest.raises(RuntimeError, match="made_sampler: auto has chosen nothing"):
        auto._measured("made_sampler", Path())


def test_what_is_known_of_other_configs_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(auto, "FOLDER", tmp_path)
    assert auto._known() == {}
    one = auto.Config([Found("a", True, "jacobi", 2.0, "newton", 1.0, 3.0)], [Told("a", "jacobi", "swept", 3, 3)], {})
    auto._save({"a": one})
    auto._save({**auto._known(), "b": auto.Config([], [], {"device": "x"})})
    assert auto._known() == {"a": one, "b": auto.Config([], [], {"device": "x"})}
