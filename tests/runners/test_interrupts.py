"""Ctrl-C keeps what was done: the results are written, and the exit code says that they are not all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import runners.densenet.runner as densenet
import runners.rnn.classifier.runner as classifier
import runners.wavenet_timing.runner as wavenet_timing
from runners.cli.main import INTERRUPTED, main
from runners.measure.interrupt import KeepingDone
from runners.measure.job import Job
from runners.rnn.backprop.training import Method
from runners.rnn.forward.experiment import SteppedJob
from tests.kit.smallest import CASES


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


@pytest.mark.parametrize(
    ("case", "owner", "name", "count", "look", "expected"),
    INTERRUPTIONS,
    ids=[f"{case}-{name}-{count}" for case, _, name, count, _, _ in INTERRUPTIONS],
)
def test_what_was_done_is_kept(
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
            raise KeyboardInterrupt
        return plain(*args, **options)

    monkeypatch.setattr(owner, name, interrupted)
    runner, config = CASES[case]
    (tmp_path / "c.yml").write_text(yaml.safe_dump({"seed": 1, **config}))
    line = ["--runner", runner, "--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]
    assert main(line) == INTERRUPTED
    assert capsys.readouterr().err.endswith("error: interrupted; the results are of what was done before\n")
    record = json.loads((tmp_path / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    assert look(record) == expected
    assert len(calls) == count


def test_an_interruption_before_there_is_anything_goes_through() -> None:
    with pytest.raises(KeyboardInterrupt), KeepingDone([]):
        raise KeyboardInterrupt


def test_other_errors_go_through() -> None:
    with pytest.raises(ValueError, match="wrong"), KeepingDone([1]):
        raise ValueError("wrong")


def test_nothing_is_interrupted_where_nothing_is() -> None:
    with KeepingDone([1]) as run:
        pass
    assert not run.interrupted
