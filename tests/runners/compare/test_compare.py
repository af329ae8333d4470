"""Results side by side: what differs, whether answers are the same, and what cannot be compared."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.paths import REFERENCE
from runners.cli.main import main
from runners.compare.folders import read_alike
from runners.compare.inputs import settings_that_differ
from runners.compare.rows import rows_of
from runners.compare.verdict import Verdict, judge
from tests.kit.results import read_results

ROW = {
    **{"solver": "jacobi", "label": "jacobi", "status": "converged", "num_steps": 5, "mismatched_equations": 0},
    **{"max_abs_error": 0.0, "run_s": {"median": 0.5, "q1": 0.4, "q3": 0.6, "n": 3}},
}
RECORD: dict[str, Any] = {
    **{"schema": 2, "kind": "sampling", "name": "tiny", "runner": "SamplerRunner", "seed": 1, "git_commit": "a"},
    "config": {"seed": 1, "batch_size": 2, "model": {"name": "made"}, "repeats": 3, "solvers": ["jacobi"]},
    **{"versions": {"jax": "1"}, "error_reference": "jacobi", "rows": [ROW], "files": ["results.json"]},
}
SAMPLES = {"samples": np.float32([[1.0, 2.0]]), "noise": np.float32([[0.1, 0.2]]), "seed": np.uint32(1)}


def folder(
    place: Path, *, row: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None, **record: Any
) -> Path:
    """A folder of results with one row: RECORD, but for what is given."""
    place.mkdir()
    content = copy.deepcopy(RECORD) | record
    content["rows"] = [ROW | (row or {})]
    (place / "results.json").write_text(json.dumps(content))
    np.savez(place / "samples.npz", **(SAMPLES | (arrays or {})))
    return place


def verdict(*folders: Path) -> Verdict:
    return judge("tiny", read_alike(folders))


def test_the_same_results_are_the_same_bit_for_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second")
    assert main(["--compare", str(first), str(second), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "B: the same answers, bit for bit (1 compared)" in said.out
    record = read_results(tmp_path / "out")
    assert (record["kind"], record["files"]) == ("comparison", ["compare.png", "results.json"])
    assert record["comparisons"][0]["rows"][0]["time_ratio"] == 1.0
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_a_changed_answer_is_a_failure_that_names_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = folder(tmp_path / "first")
    second = folder(tmp_path / "second", arrays={"samples": np.float32([[1.0, 2.5]])})
    assert main(["--compare", str(first), str(second), "--out", str(tmp_path / "out")]) == 1
    sentence = "row jacobi, samples.npz samples: off by 0.5, where 0.001 is allowed"
    assert sentence in capsys.readouterr().err
    assert sentence in read_results(tmp_path / "out")["comparisons"][0]["complaints"][0]


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"arrays": {"samples": np.float32([[1.0, 2.0005]])}}, None),
        ({"arrays": {"samples": np.float32([[1.0, np.nan]])}}, "row jacobi, samples.npz samples: off by nan"),
        ({"arrays": {"samples": np.float32([[1.0]])}}, "of shape (1, 2) and (1, 1): off by inf"),
        ({"row": {"status": "diverged"}}, "jacobi: converged in the first, diverged in the second"),
        ({"row": {"status": "time_limit_reached"}}, None),
        ({"row": {"status": "time_limit_reached"}, "arrays": {"samples": np.float32([[1.0, 9.0]])}}, None),
        ({"row": {"max_abs_error": float("nan")}}, "jacobi: its error is 0 in the first, nan in the second"),
        ({"row": {"mismatched_equations": 3}}, "jacobi: 0 mismatched equations in the first, 3 in the second"),
        ({"row": {"max_abs_error": 0.2}}, "jacobi: its error is 0 in the first, 0.2 in the second"),
        ({"row": {"max_abs_error": 0.0005, "num_steps": 9}}, None),
        ({"row": {"run_s": {"median": 50.0}}, "wall_s": 1e6}, None),
        ({"bits_per_dim": {"exact": 1.5}}, None),
    ],
)
def test_answers_may_differ_as_far_as_mismatches_are_counted_and_times_as_they_like(
    changed: dict[str, Any], complaint: str | None, tmp_path: Path
) -> None:
    found = verdict(folder(tmp_path / "first"), folder(tmp_path / "second", **changed)).complaints
    assert len(found) == (complaint is not None)
    assert complaint is None or complaint in found[0]


def test_whole_numbers_are_the_same_or_not(tmp_path: Path) -> None:
    ids = {"samples": np.int32([[1, 2, 3]])}, {"samples": np.int32([[1, 2, 4]])}
    first, second = (folder(tmp_path / str(i), arrays=arrays) for i, arrays in enumerate(ids))
    (complaint,) = verdict(first, second).complaints
    assert "off by 1, where 0 is allowed" in complaint


def test_rounding_of_complex_answers_is_allowed(tmp_path: Path) -> None:
    values = {"samples": np.complex64([1 + 1j])}, {"samples": np.complex64([1 + 1.0001j])}
    assert not verdict(*(folder(tmp_path / str(i), arrays=arrays) for i, arrays in enumerate(values))).complaints


def test_the_noise_that_an_inversion_finds_is_an_answer(tmp_path: Path) -> None:
    noise = {"normal_noise": np.float32([[0.0]])}, {"normal_noise": np.float32([[1.0]])}
    as_given = [folder(tmp_path / f"given{i}", arrays=arrays) for i, arrays in enumerate(noise)]
    assert not verdict(*as_given).complaints
    found = [
        folder(tmp_path / f"found{i}", arrays=a, round_trip={"largest_difference": 1}) for i, a in enumerate(noise)
    ]
    (complaint,) = verdict(*found).complaints
    assert "samples.npz normal_noise: off by 1" in complaint


def test_solvers_that_differ_among_themselves_allow_as_much(tmp_path: Path) -> None:
    far = {"max_abs_error": 0.7}
    first = folder(tmp_path / "first", row=far)
    second = folder(tmp_path / "second", row=far, arrays={"samples": np.float32([[1.0, 2.5]])})
    assert not verdict(first, second).complaints


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"config": RECORD["config"] | {"seed": 2}}, "config.seed"),
        ({"config": RECORD["config"] | {"model": {"name": "flow"}}}, "config.model.name"),
        ({"config": RECORD["config"] | {"model": {"name": "made", "layers": 3}}}, "config.model.layers"),
        ({"arrays": {"noise": np.float32([[0.1, 0.3]])}}, "samples.npz:noise"),
    ],
)
def test_another_question_has_an_answer_that_is_not_comparable(
    changed: dict[str, Any], why: str, tmp_path: Path
) -> None:
    other = {"samples": np.float32([[7.0, 7.0]])} | changed.get("arrays", {})
    found = verdict(folder(tmp_path / "first"), folder(tmp_path / "second", **(changed | {"arrays": other})))
    assert found.sentences == (f"B: its answers are not comparable with A's, as these differ: {why}",)
    assert not found.complaints


def test_how_an_answer_was_found_does_not_make_it_another(tmp_path: Path) -> None:
    config = RECORD["config"] | {"repeats": 9, "solvers": ["newton"], "precision": "float32"}
    versions = {"versions": {"jax": "2"}, "git_commit": "b"}
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second", config=config, **versions)
    found = verdict(first, second)
    keys = ["git_commit", "versions.jax", "config.repeats", "config.solvers", "config.precision"]
    assert [setting.key for setting in settings_that_differ(found.runs)] == keys
    assert found.sentences == ("B: the same answers, bit for bit (1 compared)",)


def test_three_runs_are_held_against_the_first(tmp_path: Path) -> None:
    slow, wrong = {"run_s": {"median": 1.0}}, {"samples": np.float32([[1.0, 9.0]])}
    runs = [folder(tmp_path / "a"), folder(tmp_path / "b", row=slow), folder(tmp_path / "c", arrays=wrong)]
    found = verdict(*runs)
    assert [(pair.run, pair.time_ratio) for pair in found.pairs] == [("B", 2.0), ("C", 1.0)]
    assert found.sentences == ("B: the same answers, bit for bit (1 compared)", "C: another answer")


def test_rows_that_one_run_lacks_are_said(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second", row={"label": "newton"})
    assert verdict(first, second).sentences[1:] == ("only A has jacobi", "only B has newton")


def test_folders_of_results_are_compared_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("old", "new"):
        (tmp_path / place).mkdir()
        folder(tmp_path / place / "tiny")
    folder(tmp_path / "old" / "other")
    line = ["--compare", str(tmp_path / "old"), str(tmp_path / "new"), "--out", str(tmp_path / "out")]
    assert main(line) == 0
    assert "tiny: B: the same answers" in capsys.readouterr().out


REFUSED = {
    "one": (["{a}"], "--compare needs two folders of results or more, not {a} alone"),
    "no_results": (["{a}", "{here}/empty"], "{here}/empty holds no results.json of a run"),
    "nowhere": (["{a}", "{here}/none"], "unknown folder of results '{here}/none'; valid: "),
    "damaged": (["{a}", "{here}/damaged"], "{here}/damaged/results.json is not the record of a run"),
    "schema": (["{a}", "{here}/schema"], "cannot be compared: schema is 2 in the first and 1 in the second"),
    "kind": (["{a}", "{here}/kind"], "cannot be compared: kind is sampling in the first and system in the second"),
    "runner": (["{a}", "{here}/runner"], "runner is SamplerRunner in the first and MADESamplerRunner in the second"),
    "out": (["{a}", "{a}", "--out", "{a}"], "--out {a} holds the results of a run; a comparison needs a folder"),
    "config": (["{a}", "{a}", "--config", "made_sampler"], "--config does not go with --compare; it runs nothing"),
    "own": (["evaluate"], "evaluate: {reference}/evaluate holds no results.json of a run; expected the shipped one"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_one_sentence(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "a")
    for name in ("empty", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / "results.json").write_text("{")
    folder(tmp_path / "schema", schema=1)
    folder(tmp_path / "kind", kind="system")
    folder(tmp_path / "runner", runner="MADESamplerRunner")
    arguments, sentence = REFUSED[case]
    places = {"a": tmp_path / "a", "here": tmp_path, "reference": REFERENCE}
    line = [argument.format(**places) for argument in arguments]
    out = [] if "--out" in line else ["--out", str(tmp_path / "out")]
    assert main(["--compare", *line, *out]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert sentence.format(**places) in said
    assert not (tmp_path / "out").exists()


def one_of_each_runner() -> dict[str, Path]:
    """A folder of shipped results for each runner."""
    records = {path.parent: json.loads(path.read_text()) for path in sorted(REFERENCE.glob("*/results.json"))}
    return {record["runner"]: place for place, record in records.items()}


@pytest.mark.parametrize("runner", sorted(one_of_each_runner()))
def test_results_of_every_kind_have_rows_and_agree_with_themselves(runner: str) -> None:
    place = one_of_each_runner()[runner]
    (record,) = (run.record for run in read_alike([place]))
    rows = rows_of(record)
    assert any(row.time_s is not None for row in rows.values()) or record["schema"] == 1
    found = judge("itself", read_alike([place, place]))
    assert not found.complaints
    assert len(found.pairs) == len(rows)
    assert "bit for bit" in found.sentences[0] or runner == "WaveNetTimingRunner"
