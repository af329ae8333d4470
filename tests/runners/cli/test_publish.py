"""Results come to disk and eyes in one place: the header, what waits, what fails, and how wide tables are."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from runners.cli.publish import SCHEMA, publish
from runners.experiment import RunContext, RunFailure
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Column, ResultTable

COLUMNS = [Column("solver", align="left"), Column("first", drop=2), Column("second", drop=1), Column("time")]
TABLE = ResultTable(
    "a [bold]title", COLUMNS, [["jacobi[1]", "1" * 20, "2" * 20, "3 ms"], ["b", "", "", "4 ms"]], best=0
)


@dataclass(frozen=True)
class Sound:
    """An artifact that cannot be written, and is needed."""

    name: str = "sound.wav"
    essential: bool = True

    def write(self, folder: Path) -> None:
        raise OSError("no room\nleft")


def context(folder: Path) -> RunContext:
    return RunContext("SomeRunner", "some", folder / "out", Console(file=io.StringIO(), width=200))


def said(context: RunContext) -> str:
    file: Any = context.console.file
    return str(file.getvalue())


def report(**changes: Any) -> Report:
    plain: dict[str, Any] = {"kind": "test", "title": "t", "config": {"seed": 3, "a": 1}, "record": {"x": float("nan")}}
    return Report(**{**plain, **changes})


def results(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    return record


def test_every_results_file_begins_with_the_same_header(tmp_path: Path) -> None:
    publish(report(arrays={"a.npz": {"x": np.arange(3)}, "empty.npz": {}}), context(tmp_path))
    record = results(tmp_path)
    header = ["schema", "kind", "name", "runner", "config", "seed", "device", "versions", "precision"]
    assert list(record) == [*header, "matmul_precision", "git_commit", "wall_s", "x", "files"]
    assert record["files"] == ["a.npz", "results.json"]
    assert (record["schema"], record["kind"], record["name"], record["runner"]) == (
        SCHEMA,
        "test",
        "some",
        "SomeRunner",
    )
    assert (record["config"], record["seed"], record["x"]) == ({"seed": 3, "a": 1}, 3, "nan")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.json", "a.npz"}


def test_a_picture_that_fails_is_a_warning(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise ValueError("no [red]ink\nleft")

    where = context(tmp_path)
    publish(report(artifacts=[Picture("a.png", fail), Picture("b.png", lambda: b"b")]), where)
    assert "warning: a.png could not be written: no [red]ink left" in said(where)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.json", "b.png"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"failure": "jacobi: it diverged."}, "^jacobi: it diverged.$"),
        ({"artifacts": [Sound()]}, "^sound.wav could not be written: no room left$"),
        ({"failure": "first", "artifacts": [Sound()]}, "^first; sound.wav could not be written: no room left$"),
    ],
)
def test_a_failure_is_said_once_the_results_are_there(
    tmp_path: Path, changes: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunFailure, match=sentence):
        publish(report(sentences=["what [came] out"], **changes), context(tmp_path))
    assert results(tmp_path)["x"] == "nan"
    assert "what [came] out" in capsys.readouterr().out


@dataclass(frozen=True)
class Stopped:
    """An artifact while whose second file is written somebody presses Ctrl-C."""

    name: str = "stopped.png"
    essential: bool = False

    def write(self, folder: Path) -> None:
        (folder / self.name).write_text("half")
        (folder / ".stopped.png-x").write_text("half")
        raise KeyboardInterrupt


def test_an_interrupt_while_pictures_are_drawn_keeps_the_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[Path] = []
    artifacts = [Picture("a.png", lambda: b"a"), Stopped(), Picture("b.png", lambda: b"b")]
    with pytest.raises(KeyboardInterrupt, match="^interrupted; the results are there, but not stopped.png, b.png$"):
        publish(report(artifacts=artifacts, sentences=["so good"], afterwards=[done.append]), context(tmp_path))
    assert results(tmp_path)["files"] == ["a.png", "results.json"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "results.json"}
    assert capsys.readouterr().out == "so good\n"
    assert done == []


@pytest.mark.parametrize("artifacts", [[], [Picture("a.png", lambda: b"a")]])
def test_an_interrupt_while_arrays_are_written_keeps_them(
    artifacts: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = np.savez_compressed, count()

    def pressed(path: Path, **arrays: Any) -> None:
        if next(calls) == 1:
            Path(path).write_text("half")
            raise KeyboardInterrupt
        write(path, **arrays)

    monkeypatch.setattr(np, "savez_compressed", pressed)
    arrays = {"a.npz": {"x": np.arange(3)}, "b.npz": {"y": np.arange(4)}}
    missing = ", but not a.png" if artifacts else ""
    with pytest.raises(KeyboardInterrupt, match=f"^interrupted; the results are there{missing}$"):
        publish(report(arrays=arrays, artifacts=artifacts), context(tmp_path))
    assert results(tmp_path)["files"] == ["a.npz", "b.npz", "results.json"]
    with np.load(tmp_path / "out" / "b.npz") as found:
        assert found["y"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"interrupted": True}, "interrupted; the results are of what was done before"),
        ({"artifacts": [Sound(), Stopped()]}, "interrupted; the results are there, but not stopped.png"),
    ],
)
def test_an_interrupted_run_says_what_it_needs_and_could_not_write(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    failure = "sound.wav could not be written: no room left"
    with pytest.raises(KeyboardInterrupt, match=f"^{sentence}; jacobi: it diverged; {failure}$"):
        publish(report(**{"artifacts": [Sound()], "failure": "jacobi: it diverged", **changes}), context(tmp_path))
    assert results(tmp_path)["files"] == ["results.json"]


def test_what_waits_for_the_results_is_done_once_they_are_there(tmp_path: Path) -> None:
    seen: list[bool] = []
    publish(report(afterwards=[lambda place: seen.append((place / "results.json").is_file())]), context(tmp_path))
    assert seen == [True]


def test_what_waits_is_told_where_the_results_went(tmp_path: Path) -> None:
    """They go aside where a file of the user's has the name of one of theirs."""
    publish(report(), context(tmp_path))
    (tmp_path / "out" / "a.npz").write_text("the user's")
    seen: list[Path] = []
    publish(report(arrays={"a.npz": {"x": np.arange(3)}}, afterwards=[seen.append]), context(tmp_path))
    assert [place.relative_to(tmp_path / "out") for place in seen] == [Path("results-2")]
    assert (seen[0] / "a.npz").is_file()


def test_nothing_is_done_afterwards_where_what_is_needed_is_missing(tmp_path: Path) -> None:
    done: list[str] = []
    afterwards = [lambda place: done.append("shipped"), lambda place: done.append("removed")]
    with pytest.raises(RunFailure, match="sound.wav"):
        publish(report(artifacts=[Sound()], afterwards=afterwards), context(tmp_path))
    assert done == []
    publish(report(artifacts=[Picture("a.png", lambda: b"a")], afterwards=afterwards), context(tmp_path))
    assert done == ["shipped", "removed"]


def test_what_comes_next_is_not_done_where_something_before_it_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(place: Path) -> None:
        raise OSError("no room left")

    done: list[str] = []
    with pytest.raises(OSError, match="no room left"):
        publish(
            report(sentences=["so good"], afterwards=[fail, lambda place: done.append("removed")]), context(tmp_path)
        )
    assert done == []
    assert capsys.readouterr().out == "so good\n"


def test_a_sentence_is_a_line_however_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(report(sentences=["word " * 50 + "end"]), context(tmp_path))
    assert capsys.readouterr().out == "word " * 50 + "end\n"


def printed(width: int, *, terminal: bool = True, all_columns: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True, legacy_windows=False)
    TABLE.print(console, all_columns=all_columns)
    file: Any = console.file
    return [line for line in str(file.getvalue()).replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines() if line]


@pytest.mark.parametrize(("width", "there"), [(100, {"first", "second"}), (50, {"first"}), (30, set())])
def test_columns_make_room_in_their_order(width: int, there: set[str]) -> None:
    lines = printed(width)
    heading = next(line for line in lines if "solver" in line)
    assert {name for name in ("first", "second") if name in heading} == there
    assert "time" in heading
    assert any("* jacobi[1]" in line and "3 ms" in line for line in lines)
    assert all(len(line.rstrip()) <= width or "no room" in line for line in lines)
    assert any("no room for" in line for line in lines) == (len(there) < 2)


def test_all_columns_are_there_on_request_and_in_a_pipe() -> None:
    for lines in (printed(30, all_columns=True), printed(30, terminal=False)):
        heading = next(line for line in lines if "solver" in line)
        assert all(column.name in heading for column in COLUMNS)
        assert any("1" * 20 in line and "2" * 20 in line and "3 ms" in line for line in lines)
