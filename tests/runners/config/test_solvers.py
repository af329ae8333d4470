"""Entries of a config's list of solvers: nested solvers, records that can be read again, and entries on a system."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from runners.config.files import UsageError
from runners.config.solvers import SolverEntry, fit_entries, labels, parse_entries, parse_entry, refusal
from solvers import (
    ELK,
    SOLVERS,
    CachedSequential,
    DenseNewton,
    GSJacobi,
    Jacobi,
    Newton,
    QuasiNewton,
    Segmented,
    Status,
    Windowed,
)
from tests.kit.bank import tiny_gru, tiny_made, tiny_wavenet


@pytest.mark.parametrize(
    ("entry", "solver"),
    [
        ("segmented", Segmented(Jacobi())),
        ("windowed", Windowed(Newton())),
        ({"name": "segmented", "solver": "cached_sequential"}, Segmented(CachedSequential())),
        ({"name": "segmented", "solver": {"name": "jacobi", "damping": 0.5}}, Segmented(Jacobi(damping=0.5))),
        ({"name": "windowed", "solver": {"name": "elk"}, "memory_mib": 2}, Windowed(ELK(), 2.0)),
        (
            {"name": "windowed", "solver": {"name": "newton", "tol": 0.5}, "tol": 0.5},
            Windowed(Newton(tol=0.5), tol=0.5),
        ),
        (
            {"name": "segmented", "solver": {"name": "windowed", "solver": {"name": "quasi_newton", "probes": 2}}},
            Segmented(Windowed(QuasiNewton(probes=2))),
        ),
        ({"name": "gs_jacobi", "block_size": None}, GSJacobi()),
    ],
)
def test_solvers_nest_to_any_depth(entry: Any, solver: Any) -> None:
    assert parse_entry(entry).solver == solver


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"name": "segmented", "solver": "jacoby"},
            "solver segmented: unknown inner solver 'jacoby'; did you mean 'jacobi'? valid: jacobi, ",
        ),
        ({"name": "segmented", "solver": "segmented"}, "solver segmented: unknown inner solver 'segmented'"),
        (
            {"name": "windowed", "solver": {"name": "jacobi"}},
            "solver windowed: unknown inner solver 'jacobi'; valid: ",
        ),
        (
            {"name": "segmented", "solver": {"name": "jacobi", "dampng": 0.5}},
            "solver segmented: solver jacobi: unknown option 'dampng'; did you mean 'damping'? valid: damping, tol",
        ),
        (
            {"name": "segmented", "solver": {"name": "jacobi", "damping": 2}},
            "solver segmented: solver jacobi: damping must be in (0, 1], where 1 is plain Jacobi, not 2.0",
        ),
        (
            {"name": "segmented", "solver": {"name": "gs_jacobi", "block_size": "ten"}},
            "solver segmented: solver gs_jacobi: block_size should be a whole number, not 'ten'",
        ),
        (
            {"name": "segmented", "solver": {"name": "gs_jacobi", "max_rows": 3}},
            "solver segmented: solver gs_jacobi: option 'max_rows' belongs to an older code base; its successor is",
        ),
        (
            {"name": "segmented", "solver": {"name": "jacobi", "trace": True}},
            "solver segmented: solver jacobi: unknown option 'trace'; valid: ",
        ),
        (
            {"name": "segmented", "solver": {"name": "windowed", "solver": "newtn"}},
            "solver segmented: solver windowed: unknown inner solver 'newtn'; did you mean 'newton'?",
        ),
        ({"name": "segmented", "solver": 3}, "solver segmented: each solver should be a mapping with a name"),
        ({"name": "windowed", "solver": {}}, "solver windowed: each solver should be a mapping with a name"),
        (
            {"name": "windowed", "solver": {"name": "newton", "tol": 0.5}},
            "solver windowed: tol 0.5 of the inner solver differs from 1e-06, that of the whole",
        ),
        ({"name": "windowed", "memory_mib": 0}, "solver windowed: memory_mib must be positive, not 0.0"),
        ({"name": "gs_jacobi", "block_size": 0}, "solver gs_jacobi: block_size must be at least 1, not 0"),
    ],
)
def test_a_mistake_gets_a_sentence_however_deep(entry: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}[^\n]*$"):
        parse_entry(entry)


NESTED = {
    "name": "segmented",
    "solver": {"name": "windowed", "solver": {"name": "quasi_newton", "probes": 2}},
    **{"tol": 0.25, "max_steps": 7, "repeats": 2},
}


def test_records_are_plain_and_have_every_option() -> None:
    entry = parse_entry(NESTED)
    assert entry.record == {
        "name": "segmented",
        "solver": {
            "name": "windowed",
            "solver": {"name": "quasi_newton", "jacobian": "diagonal", "block_size": 2, "probes": 2, "tol": 0.25},
            **{"memory_mib": 256.0, "slide": False, "tol": 0.25},
        },
        **{"tol": 0.25, "max_steps": 7, "repeats": 2},
    }
    assert (entry.name, entry.inner_name) == ("segmented", "quasi_newton")
    assert entry.options == {key: value for key, value in entry.record.items() if key not in ("name", "repeats")}


ROUGH = {**NESTED, "max_steps": None, "tol": None, "stop": {"max_steps": 3, "tol": 0.5, "expected": True}}
ROUGH = {key: value for key, value in ROUGH.items() if value is not None}


@pytest.mark.parametrize("entry", [*SOLVERS, NESTED, ROUGH], ids=str)
def test_a_record_read_again_is_the_same_entry(entry: Any) -> None:
    record = parse_entry(entry).record
    assert parse_entry(json.loads(json.dumps(record))).record == record


def test_a_stop_stands_in_for_the_limit_and_the_tolerance_of_all_parts() -> None:
    entry = parse_entry(ROUGH)
    assert (entry.max_steps, entry.options["tol"], entry.options["solver"]["solver"]["tol"]) == (3, 0.5, 0.5)
    assert entry.record["stop"] == {"max_steps": 3, "tol": 0.5, "expected": True}


@pytest.mark.parametrize(
    ("stop", "stopped"),
    [
        (None, set()),
        ({"max_steps": 3}, {Status.MAX_STEPS_REACHED}),
        ({"tol": 0.5}, {Status.CONVERGED}),
        ({"tol": 0.5, "max_steps": 3}, {Status.CONVERGED, Status.MAX_STEPS_REACHED}),
    ],
)
def test_only_what_a_stop_asked_for_counts_as_stopped(stop: Any, stopped: set[Status]) -> None:
    entry = parse_entry({"name": "jacobi", "stop": stop})
    assert {status for status in Status if entry.judged(status) is not status} == stopped
    assert {entry.judged(status) for status in stopped} <= {Status.STOPPED}
    assert [status for status in Status if not status.is_failure] == [Status.CONVERGED, Status.STOPPED]


def test_labels_tell_inner_solvers_apart() -> None:
    entries = parse_entries(
        [
            "segmented",
            {"name": "segmented", "solver": "cached_sequential", "tol": 0.5},
            {"name": "segmented", "solver": {"name": "jacobi", "damping": 0.5}},
            "jacobi",
        ]
    )
    assert labels(entries) == [
        "segmented(solver=jacobi, tol=0.0)",
        "segmented(solver=cached_sequential, tol=0.5)",
        "segmented(solver=jacobi(damping=0.5), tol=0.0)",
        "jacobi",
    ]
    assert labels(parse_entries([{"name": "segmented", "solver": name} for name in ("jacobi", "sequential")])) == [
        "segmented(solver=jacobi)",
        "segmented(solver=sequential)",
    ]


# Entries on a system.


def test_entries_are_resolved_where_they_meet_their_system() -> None:
    entries = parse_entries(["gs_jacobi", {"name": "jacobi_gs", "block_size": 3, "max_steps": 9}, "jacobi"])
    blocks, given, jacobi = fit_entries(entries, tiny_made(36, 1, 0))
    assert blocks.record == {"name": "gs_jacobi", "block_size": 6, "tol": 0.0, "max_steps": None}
    assert given.record == {"name": "jacobi_gs", "block_size": 3, "tol": 0.0, "max_steps": 9}
    assert jacobi == SolverEntry(Jacobi())
    assert labels([blocks, given]) == ["gs_jacobi", "jacobi_gs"]


@pytest.mark.parametrize(
    ("entry", "build", "sentence"),
    [
        (
            "newton",
            lambda: tiny_made(4, 1, 0),
            "newton needs a MarkovSystem; AutoregressiveSystem is a BlockSystem; use",
        ),
        ("segmented", lambda: tiny_made(4, 1, 0), "segmented needs a SegmentedSystem"),
        ("dense_newton", lambda: tiny_wavenet(5, 1, 0), "the state has no floating-point values"),
        (
            {"name": "dense_newton", "max_jacobian_mib": 1},
            lambda: tiny_made(600, 1, 0),
            "dense_newton needs a Jacobian of 600 x 600 numbers",
        ),
        ({"name": "windowed", "memory_mib": 1e-6}, lambda: tiny_gru(5, 2, 0), "memory_mib 1e-06 does not hold one"),
    ],
)
def test_what_does_not_fit_is_refused(entry: Any, build: Any, sentence: str) -> None:
    entries, system = parse_entries(["jacobi", entry]), build()
    with pytest.raises(UsageError, match=f"^methods: solver {entries[1].name}: {sentence}"):
        fit_entries(entries, system, "methods: ")
    reason = refusal(entries[1], system)
    assert reason is not None
    assert reason.startswith(sentence)
    assert refusal(entries[0], system) is None


def test_a_solver_that_is_not_in_the_table_is_called_by_its_class() -> None:
    class Unlisted(DenseNewton):
        """Not in the table."""

    entry = SolverEntry(Unlisted())
    assert entry.record["name"] == "Unlisted"
    assert labels([entry, SolverEntry(Unlisted(max_jacobian_mib=2))]) == [
        "Unlisted(max_jacobian_mib=1024)",
        "Unlisted(max_jacobian_mib=2)",
    ]


def test_a_whole_number_may_be_written_with_an_exponent() -> None:
    assert parse_entry({"name": "jacobi", "max_steps": 1e3, "repeats": 2.0}) == parse_entry(
        {"name": "jacobi", "max_steps": 1000, "repeats": 2}
    )
