"""The same recurrent classifier trained with a scan and with Newton, from the command line to the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runners.cli.main import main

TINY: dict[str, Any] = {
    "max_train_images": 60,
    "hidden_size": 3,
    "epochs": 2,
    "batch_size": 20,
    "solvers": ["cached_sequential", "newton"],
}


def train(folder: Path, **changes: Any) -> int:
    (folder / "c.yml").write_text(yaml.safe_dump({**TINY, **changes}))
    return main(["--runner", "RNNClassifierRunner", "--config", str(folder / "c.yml"), "--out", str(folder / "out")])


@pytest.mark.slow  # its cousin below trains by Newton as well, for fewer steps
def test_newton_trains_like_the_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    scan, newton = record["rows"]
    assert (scan["solver"], newton["solver"]) == ("cached_sequential", "newton")
    assert newton["held_out_accuracy"] == pytest.approx(scan["held_out_accuracy"], abs=0.01)
    assert newton["max_loss_difference"] < 1e-4
    assert scan["solver_steps"] == 28
    assert 2 <= newton["solver_steps"] < 10
    with np.load(tmp_path / "out" / "losses.npz") as losses:
        assert losses["newton"].shape == (6,)  # two epochs of three batches
        assert np.mean(losses["newton"][3:]) < np.mean(losses["newton"][:3])  # it learns
    assert (tmp_path / "out" / "training.png").stat().st_size > 10_000
    assert record["kind"] == "rnn_classifier"
    assert "held-out accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cell", "solver"),
    [
        ("para_lstm", "newton"),
        ("lru", "parallel_scan"),
        pytest.param("para_gru", "newton", marks=pytest.mark.slow),
        pytest.param("min_gru", "parallel_scan", marks=pytest.mark.slow),
    ],
)
def test_cells_made_for_it_train_like_the_scan(tmp_path: Path, cell: str, solver: str) -> None:
    assert train(tmp_path, cell=cell, solvers=["cached_sequential", solver], epochs=1) == 0
    _, parallel = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert parallel["max_loss_difference"] < 1e-4
    assert parallel["solver_steps"] < 10 if solver == "newton" else parallel["solver_steps"] == 1


@pytest.mark.slow
def test_a_gru_trains_to_the_same_accuracy_with_newton_as_with_a_scan(tmp_path: Path) -> None:
    assert train(tmp_path, max_train_images=None, hidden_size=32, epochs=6, batch_size=50) == 0
    scan, newton = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert scan["held_out_accuracy"][-1] > 0.92
    assert newton["held_out_accuracy"][-1] == pytest.approx(scan["held_out_accuracy"][-1], abs=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "gruu"}, "unknown cell 'gruu'; did you mean 'gru'?"),
        ({"solvers": []}, "solvers"),
        ({"solvers": ["newtn"]}, "newton"),
        ({"solvers": ["parallel_scan"]}, "parallel_scan needs an AffineMarkovSystem"),
        ({"batch_size": 1000}, "batch_size 1000 is more than the 60 training images"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"dataset": {"name": "mnist5k"}}, "config key 'dataset' belongs to an older code base; its successor is data"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    assert train(tmp_path, **changes) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_solver_that_does_not_converge_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, solvers=[{"name": "jacobi", "max_steps": 2}]) == 1
    assert "jacobi: training step 1: The step limit was reached" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_solver_that_fails_takes_nothing_from_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solvers = ["cached_sequential", {"name": "jacobi", "max_steps": 2}, "newton"]
    assert train(tmp_path, solvers=solvers, epochs=1) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: jacobi: training step 1: The step limit was reached")
    assert "held-out accuracy" in captured.out
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["label"] for row in record["rows"]] == ["cached_sequential", "newton"]
    with np.load(tmp_path / "out" / "losses.npz") as losses:
        assert set(losses.files) == {"cached_sequential", "newton"}
