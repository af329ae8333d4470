"""The gate of benchmarks, on made-up numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gate
from benchmarks.gate import Change, changes
from benchmarks.limits import FOLDER

FASTER, SLOWER = "cached sequential, times faster than naive", "Newton, in times of the scan, batch 1"


def results(kind: str = "a CPU", **ratios: float) -> dict[str, Any]:
    named = {FASTER: ratios.get("faster", 100.0), SLOWER: ratios.get("slower", 2.0), "Jacobi's steps": 34.0}
    limits = [{"what": what, "ratio": ratio, "at_least": what == FASTER} for what, ratio in named.items()]
    return {"device": {"kind": kind}, "limits": limits}


@pytest.mark.parametrize(
    ("now", "verdicts"),
    [
        (results(), ("as it was", "as it was")),
        (results(faster=1000.0, slower=0.1), ("as it was", "as it was")),
        (results(slower=2.49), ("as it was", "as it was")),
        (results(slower=2.6), ("as it was", "warning")),
        (results(slower=3.49), ("as it was", "warning")),
        (results(slower=3.51), ("as it was", "FAILS")),
        (results(faster=75.0), ("warning", "as it was")),
        (results(faster=50.0), ("FAILS", "as it was")),
        (results("a GPU", faster=1.0), ("another device", "another device")),
        (results(slower=float("nan")), ("as it was", "FAILS")),
    ],
)
def test_ratios_of_times_are_judged_by_how_many_times_worse_they_are(
    now: dict[str, Any], verdicts: tuple[str, ...]
) -> None:
    assert tuple(change.verdict for change in changes("some", results(), now)) == verdicts


def test_more_may_be_better() -> None:
    assert Change("some", FASTER, 100.0, 50.0, at_least=True).times_worse == 2.0
    assert Change("some", SLOWER, 2.0, 5.0).times_worse == 2.5


def test_limits_by_name_are_read_as_well() -> None:
    what = "memory of a device of 8 in that of one, made, jacobi, batch"
    before, now = ({"device": {"kind": "a"}, "limits": {what: {"ratio": ratio, "limit": 0.2}}} for ratio in (0.1, 0.2))
    (change,) = changes("scaling", before, now)
    assert (change.what, change.verdict) == (what, "FAILS")


@pytest.mark.parametrize(("slower", "code"), [(2.0, 0), (2.6, 0), (9.0, 1)])
def test_the_program_fails_where_a_ratio_does(
    slower: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "some.json").write_text(json.dumps(results(slower=slower)))
    monkeypatch.setattr(gate, "FOLDER", tmp_path)
    monkeypatch.setattr(gate, "_committed", lambda name, commit: results())
    monkeypatch.setattr("sys.argv", ["gate"])
    assert gate.main() == code
    assert f"2 ratios: {code} above 1.75" in capsys.readouterr().out


def test_committed_benchmarks_have_ratios_and_no_number_of_seconds_is_one() -> None:
    found = {
        path.stem: list(gate._ratios(record))
        for path in FOLDER.glob("*.json")
        if "limits" in (record := json.loads(path.read_text()))
    }
    assert {"made", "pixelcnnpp", "newton", "prefix_scan", "densenet", "scaling"} <= {
        name for name, ratios in found.items() if ratios
    }
    assert not any("seconds" in what or "steps," in what for ratios in found.values() for what in ratios)
