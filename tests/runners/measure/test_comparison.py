"""Comparing solvers on one system: what is left out, what errors are measured against, and the rows."""

from __future__ import annotations

import io
import math
from functools import partial
from typing import Any

import jax.numpy as jnp
import pytest
from rich.console import Console

from runners.config.solvers import labels, parse_entries
from runners.measure import comparison
from runners.measure.comparison import Comparison, compare_solvers, too_long
from runners.measure.job import Job
from tests.kit.bank import Chain

T = 6


def compare(names: list[Any], **options: Any) -> Comparison:
    entries = parse_entries(names)
    system = Chain(lambda x, b: 0.5 * x + b, jnp.ones((T, 2)), jnp.zeros((T, 2)))
    plain: dict[str, Any] = {"repeats": 1, "time_limit_s": None, "trace": False, "console": Console(file=io.StringIO())}
    return compare_solvers(system, dict(zip(labels(entries), entries, strict=True)), **{**plain, **options})


def test_rows_come_in_order_and_errors_are_against_the_first_reference_that_is_run() -> None:
    found = compare(["jacobi", "cached_sequential", "sequential"])
    assert [row.label for row in found.rows] == ["jacobi", "cached_sequential", "sequential"]
    assert found.reference_label == "sequential"
    assert found.system_record["num_equations"] == T
    assert found.system_record["batch_size"] == 2
    assert compare(["jacobi", "sequential"], references=("cached_sequential",)).reference_label == "jacobi"


def test_short_runs_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run_again(job: Job) -> float:
        asked.append(job.label)
        return float(len(asked))

    monkeypatch.setattr(Job, "run_again", run_again)
    monkeypatch.setattr(comparison, "SHORT_S", math.inf)
    names = ["cached_sequential", {"name": "jacobi", "repeats": 2}]
    found = compare(names, repeats=3)
    turn = ["cached_sequential", "cached_sequential", "jacobi", "jacobi"]
    assert asked == [*turn, *turn, "cached_sequential", "cached_sequential"]
    assert [row.run_s.median for row in found.rows] == [6.0, 6.0]  # of 2, 6, 10 and of 4, 8: the second runs of turns
    assert [row.run_s.n for row in found.rows] == [3, 2]
    asked.clear()
    compare(names[:1], repeats=3)
    monkeypatch.setattr(comparison, "SHORT_S", 0.0)
    compare(names, repeats=3)
    assert not asked, "a single solver has none to take turns with, and long runs do not"


def test_times_stand_where_a_solver_fails_when_it_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[str] = []

    def run_again(job: Job) -> float:
        if job.label == "jacobi":
            failed.append(job.label)
            raise MemoryError("no room any more")
        return 1e9

    monkeypatch.setattr(Job, "run_again", run_again)
    monkeypatch.setattr(comparison, "SHORT_S", math.inf)
    found = compare(["cached_sequential", "jacobi"])
    assert failed == ["jacobi"]
    assert found.failure is None
    assert [0.0 < row.run_s.median < 1e9 for row in found.rows] == [True, True]


def test_speedups_are_over_baselines_that_converged() -> None:
    found = compare(["sequential", {"name": "cached_sequential", "max_steps": 1, "chunk_size": 2}, "jacobi"])
    sequential, _, jacobi = (found.record(row) for row in found.rows)
    assert sequential["speedup_vs_sequential"] == 1
    assert jacobi["speedup_vs_sequential"] == found.rows[0].run_s.median / found.rows[2].run_s.median
    assert [found.record(row)["speedup_vs_cached"] for row in found.rows] == [None, None, None]
    assert found.fastest in ("sequential", "jacobi")


def test_what_is_skipped_is_told_with_the_reason() -> None:
    found = compare(["sequential", "cached_sequential", "jacobi"], skip=partial(too_long, max_length=T - 1))
    assert [row.label for row in found.rows] == ["cached_sequential", "jacobi"]
    assert found.reference_label == "cached_sequential"
    (skipped,) = found.skipped
    assert set(skipped.record) == {"solver", "label", "reason"}
    assert skipped.sentence.startswith("sequential was left out: naive sequential evaluation computes all T equations")
    assert "left out above T = 5 (sequential_max_length)" in skipped.reason
    assert not compare(["sequential"], skip=partial(too_long, max_length=T)).skipped
