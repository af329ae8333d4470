"""Ctrl-C and failures keep what was done: the results are written, and the exit code says that they are not all."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

import runners.densenet.runner as densenet
import runners.rnn.backprop.runner as backprop
import runners.rnn.classifier.runner as classifier
import runners.wavenet_timing.runner as wavenet_timing
from runners.cli.main import INTERRUPTED, main
from runners.experiment import RunContext, RunFailure
from runners.measure.interrupt import KeepingDone
from runners.measure.job import Job
from runners.measure.order_one import SteppedJob
from runners.report.report import Report
from runners.rnn.backprop.training import Method
from runners.sampling.config import WaveNetSamplerConfig
from runners.sampling.sound import sound_subject
from tests.kit.smallest import CASES, WAVENET


def labels(rows: list[dict[str, Any]]) -> list[str]:
    return [row["label"] for row in rows]


# (case, where what is called for the nth time is interrupted, n, what of the record is there, what it is)
INTERRUPTIONS: list[tuple[str, object, str, int, Callable[[dict[str, Any]], Any], Any]] = [
    ("made", Job, "measure", 2, lambda r: labels(r["rows"]), ["cached_sequential"]),
    ("densenet", Job, "measure", 2, lambda r: (labels(r["rows"]), list(r["by_sweep"])), (["sequential"], [])),
    ("densenet", densenet, "follow_answers", 2, lambda r: len(r["by_sweep"]), 1),
    ("forward_rnn", SteppedJob, "measure", 5, lambda r: [len(each["rows"]) for each in r["experiments"]], [3, 1]),
    ("backprop", Job, "measure", 3, lambda r: (len(r["rows"]), r["training"]), (2, None)),
    ("backprop", Method, "train", 5, lambda r: (len(r["rows"]), len(r["training"]["rows"])), (4, 3)),
    ("backprop", Method, "train", 2, lambda r: len(r["training"]["rows"]), 1),
    ("rnn_classifier", classifier, "train_classifier", 2, lambda r: labels(r["rows"]), ["cached_sequential"]),
    ("wavenet_timing", wavenet_timing, "measure_speed", 3, lambda r: (len(r["rows"]), r["wide"]), (2, [])),
    (
        "wavenet_timing",
        wavenet_timing,
        "measure_naive",
        1,
        lambda r: [r["rows"][0]["naive_ms"], len(r["wide"])],
        [None, 1],
    ),
]


# The same of what fails.
FAILURES: list[tuple[str, object, str, int, Callable[[dict[str, Any]], Any], Any]] = [
    ("backprop", Method, "train", 5, lambda r: (len(r["rows"]), len(r["training"]["rows"])), (4, 3)),
    ("backprop", backprop, "gradient_errors", 5, lambda r: len(r["training"]["rows"]), 3),
    ("wavenet_timing", wavenet_timing.WaveNetTimingRunner, "_pinned", 1, lambda r: len(r["rows"]), 2),
]


@pytest.mark.parametrize(
    ("error", "code", "message", "case", "owner", "name", "count", "look", "expected"),
    [
        *((KeyboardInterrupt(), INTERRUPTED, "interrupted; the results are of what was done before", *row)
          for row in INTERRUPTIONS),
        *((RunFailure("it broke"), 1, "it broke", *row) for row in FAILURES),
    ],
    ids=[f"{case}-{name}-{count}" for case, _, name, count, _, _ in INTERRUPTIONS + FAILURES],
)  # fmt: skip
def test_what_was_done_is_kept(
    error: BaseException,
    code: int,
    message: str,
    case: str,
    owner: object,
    name: str,
    count: int,
    look: Callable[[dict[str, Any]], Any],
    expected: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, calls = getattr(owner, name), []

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == count:
            raise error
        return plain(*args, **options)

    monkeypatch.setattr(owner, name, interrupted)
    runner, config = CASES[case]
    (tmp_path / "c.yml").write_text(yaml.safe_dump({"seed": 1, **config}))
    line = ["--runner", runner, "--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]
    assert main(line) == code
    assert capsys.readouterr().err.endswith(f"error: {message}\n")
    record = json.loads((tmp_path / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    assert look(record) == expected
    assert len(calls) == count


def test_nothing_is_timed_behind_an_interrupted_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the next Ctrl-C would lose its rows."""
    interrupted: list[int] = []

    def measure(*_: Any) -> None:
        interrupted.append(1)
        raise KeyboardInterrupt

    def timed(plain: Callable[..., Any], *args: Any) -> Any:
        assert not interrupted
        return plain(*args)

    for name in ("time_layers", "time_calls"):
        monkeypatch.setattr(densenet, name, partial(timed, getattr(densenet, name)))
    plain_measure = Job.measure
    monkeypatch.setattr(Job, "measure", lambda job: measure() if job.label != "sequential" else plain_measure(job))
    runner, config = CASES["densenet"]
    (tmp_path / "c.yml").write_text(yaml.safe_dump({"seed": 1, **config}))
    line = ["--runner", runner, "--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]
    assert main(line) == INTERRUPTED
    assert interrupted


@pytest.mark.parametrize("interrupted", [False, True])
def test_no_more_sound_is_made_behind_an_interrupted_comparison(interrupted: bool, tmp_path: Path) -> None:
    choice = {"model": WAVENET, "num_samples": 4, "batch_size": 1, "continue_s": 0.003, "solvers": ["jacobi"]}
    context = RunContext("WaveNetSamplerRunner", "c", tmp_path, Console(quiet=True))
    subject = sound_subject(WaveNetSamplerConfig(**choice), context, None)
    comparison: Any = SimpleNamespace(interrupted=interrupted, reference=np.zeros((4, 1), np.int32), rows=[])
    assert (subject.present(comparison, "").record["generation"] is None) == interrupted


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunFailure])
def test_an_end_before_there_is_anything_goes_through(error: type[BaseException]) -> None:
    with pytest.raises(error), KeepingDone([]):
        raise error


def test_a_failure_is_told_beside_that_of_the_report() -> None:
    report = Report(kind="made", title="made", config={}, record={}, failure="first")
    with KeepingDone([1]) as run:
        raise RunFailure("second")
    told = run.told(report)
    assert (told.failure, told.interrupted) == ("first; second", False)


def test_other_errors_go_through() -> None:
    with pytest.raises(ValueError, match="wrong"), KeepingDone([1]):
        raise ValueError("wrong")


def test_nothing_is_interrupted_where_nothing_is() -> None:
    with KeepingDone([1]) as run:
        pass
    assert not run.interrupted
