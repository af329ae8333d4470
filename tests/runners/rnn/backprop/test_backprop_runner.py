"""The experiment on backpropagation from the command line to the files that a run leaves behind."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from PIL import Image

from common.paths import CONFIGS
from runners.cli.main import main
from runners.config.files import read_config
from runners.config.solvers import SolverEntry
from runners.measure.timing import Times
from runners.rnn.backprop.summary import _pays
from runners.rnn.backprop.training import SolverTraining
from solvers import CachedSequential, Jacobi, ParallelScan, Solver
from solvers.linear.prefix_scan import chain_length
from tests.kit.solvers import in_the_table

SIZE, SEQUENCES, STEPS, TRAININGS = 4, 3, 5, 2
T = SIZE**2
SOLVERS: list[Any] = [
    "sequential",
    "cached_sequential",
    "jacobi",
    {"name": "gs_jacobi", "block_size": 5},
    "parallel_scan",
]
METHODS: list[Any] = ["cached_sequential", {"name": "jacobi", "max_steps": 1}, "jacobi", "parallel_scan"]
SMALL = {
    "image_size": SIZE,
    "num_sequences": SEQUENCES,
    "hidden_size": 6,
    "train_steps": STEPS,
    "trainings": TRAININGS,
    "repeats": 1,
    "init_scale": 0.5,
    "learning_rate": 0.1,
    "solvers": SOLVERS,
    "methods": METHODS,
    "seed": 3,
}
PICTURES = {"convergence_start.png", "convergence_end.png", "loss_by_time.png", "loss_by_steps.png"}
ROW = {
    *("phase", "solver", "label", "options", "status", "num_steps", "num_iterations", "sweep_equivalents"),
    *("guess_resets", "steps_to_convergence", "compile_s", "run_s", "speedup_vs_sequential", "speedup_vs_cached"),
    *("max_residual", "mismatched_equations", "max_abs_error", "peak_memory_bytes", "relative_error", "gradient"),
}
TRAINING_ROW = {
    *("solver", "label", "options", "gradient_deviation", "converged", "num_steps", "compile_s", "backward_s"),
    *("step_s", "train_s", "final_loss", "to_target", "speedup"),
}


def command(folder: Path, *more: str, **changes: Any) -> list[str]:
    config = {key: value for key, value in {**SMALL, **changes}.items() if value is not None}
    (folder / "tiny.yml").write_text(yaml.safe_dump(config))
    line = ["--runner", "BackpropRunner", "--config", str(folder / "tiny.yml"), "--out", str(folder / "out")]
    return [*line, *more]


def backprop(folder: Path, *more: str, **changes: Any) -> int:
    return main(command(folder, *more, **changes))


def results(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    return record


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "out" / "traces.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every kind of solver and method."""
    folder = tmp_path_factory.mktemp("finished")
    assert backprop(folder) == 0
    return folder


@pytest.fixture
def record(finished: Path) -> dict[str, Any]:
    return results(finished)


# What a run leaves behind.


def test_results_have_every_key(record: dict[str, Any]) -> None:
    shared = {
        "schema",
        "kind",
        "name",
        "runner",
        "config",
        "seed",
        "device",
        "versions",
        "precision",
        "matmul_precision",
        "git_commit",
        "wall_s",
        "files",
    }
    assert set(record) == shared | {"system", "error_reference", "fastest", "rows", "training", "skipped", "findings"}
    header = (record["kind"], record["name"], record["runner"], record["seed"])
    assert header == ("backprop", "tiny", "BackpropRunner", 3)
    assert {frozenset(row) for row in record["rows"]} == {frozenset(ROW), frozenset(ROW) | {"chain_length"}}
    assert set(record["training"]) == {"reference", "target_loss", "rows"}
    of_scans = frozenset(TRAINING_ROW) | {"chain_length"}
    assert {frozenset(row) for row in record["training"]["rows"]} == {frozenset(TRAINING_ROW), of_scans}
    scans = [row for row in (*record["rows"], *record["training"]["rows"]) if "chain_length" in row]
    assert {(row["solver"], row["chain_length"]) for row in scans} == {("parallel_scan", chain_length(T))}
    assert (record["system"]["num_equations"], record["system"]["batch_size"]) == (T, SEQUENCES)
    assert record["config"]["model"]["cell"] == "elman"
    assert record["config"]["data"] == {"name": "mnist5k", "root": None, "download": False}
    assert record["skipped"] == []


def test_every_solver_has_the_gradient_before_and_after_training(record: dict[str, Any]) -> None:
    names = [entry if isinstance(entry, str) else entry["name"] for entry in SOLVERS]
    for phase in ("start", "end"):
        rows = {row["label"]: row for row in record["rows"] if row["phase"] == phase}
        assert list(rows) == names
        assert {row["status"] for row in rows.values()} == {"converged"}
        assert all(row["relative_error"] <= 1e-5 for row in rows.values())
        assert all(row["gradient"]["steps_to_tolerance"]["reached"] == SEQUENCES for row in rows.values())
        assert rows["jacobi"]["gradient"]["steps_to_exact"]["max"] <= T
        assert rows["sequential"]["gradient"]["steps_to_exact"]["min"] == T  # its last equation is the first pixel's
        assert rows["parallel_scan"]["num_steps"] == 1


def test_traces_end_at_the_gradient(finished: Path, record: dict[str, Any]) -> None:
    traces = arrays(finished)
    for row in record["rows"]:
        name = f"{row['phase']}/{row['label']}"
        error, num_steps = traces[f"{name}/error"], traces[f"{name}/num_steps"]
        assert error.shape == (row["num_iterations"], SEQUENCES)
        assert num_steps[-1] == row["num_steps"]
        assert error[-1].max() == pytest.approx(row["relative_error"])
    assert (traces["start/jacobi/error"] != traces["end/jacobi/error"][: len(traces["start/jacobi/error"])]).any()
    jacobi = traces["start/jacobi/error"]
    assert jacobi[0].min() > 1e-2
    assert (np.argmax(jacobi == 0, axis=0) < T).all()


def test_all_methods_train_and_exact_ones_alike(finished: Path, record: dict[str, Any]) -> None:
    traces, training = arrays(finished), record["training"]
    rows = {row["label"]: row for row in training["rows"]}
    assert list(rows) == ["cached_sequential", "jacobi(max_steps=1)", "jacobi(max_steps=None)", "parallel_scan"]
    assert training["reference"] == "cached_sequential"
    expected = traces["training/cached_sequential/loss"]
    assert expected.shape == (TRAININGS, STEPS)
    for label, row in rows.items():
        loss, steps = traces[f"training/{label}/loss"], traces[f"training/{label}/num_steps"]
        assert row["num_steps"] == pytest.approx(steps.mean())
        assert (traces[f"training/{label}/seconds"] > 0).all()
        np.testing.assert_array_equal(loss[:, 0], expected[:, 0])  # the same first weights and images
        if label == "jacobi(max_steps=1)":
            assert row["converged"] == 0
            assert row["gradient_deviation"] > 1e-2
            assert np.abs(loss - expected).max() > 1e-5
        else:
            assert row["converged"] == 1
            assert row["gradient_deviation"] <= 1e-5
            np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert {rows[label]["num_steps"] for label in ("jacobi(max_steps=1)", "parallel_scan")} == {1}
    assert rows["cached_sequential"]["num_steps"] == T
    assert len({tuple(loss) for loss in expected}) == TRAININGS  # other weights, other images
    assert rows["cached_sequential"]["speedup"] == {"seconds": 1, "num_steps": 1}
    smoothed = traces["training/cached_sequential/smoothed"]
    assert training["target_loss"] == pytest.approx(smoothed[:, -1].mean())
    assert rows["parallel_scan"]["speedup"]["num_steps"] == pytest.approx(T)


def test_everything_is_there_and_nothing_else(finished: Path) -> None:
    assert {path.name for path in (finished / "out").iterdir()} == {"results.json", "traces.npz"} | PICTURES
    assert {path.name for path in finished.iterdir()} == {"tiny.yml", "out"}
    for name in PICTURES:
        with Image.open(finished / "out" / name) as image:
            image.load()
            assert min(image.size) > 300


def test_findings_tell_how_many_sweeps_and_whether_they_pay(record: dict[str, Any]) -> None:
    before, after, pays, chain = record["findings"]  # what was published is of another length
    steps = next(row for row in record["rows"] if row["label"] == "jacobi")["gradient"]["steps_to_tolerance"]
    assert f"after {steps['mean']:.1f} steps ({steps['min']} to {steps['max']} over 3 sequences)" in before
    assert before.startswith("jacobi, before training")
    assert before.endswith(f"the same to the last bit after {T}.")
    assert after.startswith("jacobi, after training")
    assert "cached_sequential" in pays
    assert f"in place of {T}" in pays
    assert chain == f"A step of parallel_scan is a prefix scan, in which {chain_length(T)} products follow one another."


@pytest.mark.parametrize(
    ("seconds", "steps", "words"),
    [
        (2.0, 107.0, "It saves no depth either: 107 sequential steps in place of 100."),
        (2.0, 12.0, "What it saves is depth: 12 sequential steps in place of 100."),
        (0.5, 12.0, "500 ms against 1 s, and in 12 sequential steps in place of 100."),
        (0.5, 107.0, "500 ms against 1 s, but in 107 sequential steps in place of 100."),
    ],
)
def test_depth_is_saved_where_there_is_less_of_it(seconds: float, steps: float, words: str) -> None:
    def training(solver: Solver, took: float, depth: float) -> SolverTraining:
        times = Times.of([took])
        return SolverTraining("some", SolverEntry(solver), 0.0, 0.0, times, num_steps=[np.full(3, depth)])

    assert _pays(training(Jacobi(), seconds, steps), training(CachedSequential(), 1.0, 100.0), 100).endswith(words)


def test_a_scan_is_as_deep_as_its_chain() -> None:
    times = Times.of([1.0])
    scan, loop = (
        SolverTraining("some", SolverEntry(solver), 0.0, 0.0, times, num_steps=[np.full(3, depth)])
        for solver, depth in ((ParallelScan(), 1.0), (CachedSequential(), 100.0))
    )
    assert f"depth: {chain_length(100)} sequential steps in place of 100" in _pays(scan, loop, 100)


def test_weights_and_images_follow_from_the_seed_which_counts_up(finished: Path, tmp_path: Path) -> None:
    assert backprop(tmp_path, "--seed", "4", solvers=["jacobi"], methods=["cached_sequential"], trainings=1) == 0
    expected = arrays(finished)["training/cached_sequential/loss"]
    np.testing.assert_allclose(arrays(tmp_path)["training/cached_sequential/loss"][0], expected[1], rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": "gru", "image_size": 1},
        {"cell": "lstm", "image_size": 2, "data": {"name": "photos32"}},
    ],
)
def test_any_cell_length_and_dataset(tmp_path: Path, changes: dict[str, Any]) -> None:
    quick = {"solvers": ["cached_sequential", "jacobi"], "methods": ["jacobi"], "train_steps": 2, "trainings": 1}
    assert backprop(tmp_path, **quick, **changes) == 0
    record = results(tmp_path)
    assert {row["status"] for row in record["rows"]} == {"converged"}
    assert all(row["relative_error"] <= 1e-5 for row in record["rows"])
    assert record["training"]["rows"][0]["gradient_deviation"] <= 1e-5
    assert record["system"]["num_equations"] == changes.get("image_size", SIZE) ** 2


def test_naive_sequential_is_left_out_of_long_sequences_and_entries_may_have_plans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = ["sequential", {"name": "cached_sequential", "repeats": 2}, {"name": "jacobi", "trace": False}]
    short = {"train_steps": 1, "trainings": 1, "sequential_max_length": T - 1}
    assert backprop(tmp_path, solvers=entries, methods=["jacobi", "sequential"], **short) == 0
    record = results(tmp_path)
    assert [row["label"] for row in record["rows"]] == 2 * ["cached_sequential", "jacobi"]
    assert [(skipped["list"], skipped["solver"], skipped["label"]) for skipped in record["skipped"]] == [
        ("solvers", "sequential", "sequential"),
        ("methods", "sequential", "sequential"),
    ]
    said = " ".join(capsys.readouterr().out.split())
    assert "solvers: sequential was left out: naive sequential evaluation computes all T equations T times" in said
    assert [row["run_s"]["n"] for row in record["rows"]] == [2, 1, 2, 1]
    assert [row["gradient"] is None for row in record["rows"]] == [False, True, False, True]
    assert record["rows"][1]["relative_error"] <= 1e-5
    assert not any("jacobi" in name for name in arrays(tmp_path) if name.startswith(("start", "end")))
    assert backprop(tmp_path, solvers=["sequential"], methods=["jacobi"], **short) == 2
    assert "solvers: nothing is left to run" in capsys.readouterr().err
    assert results(tmp_path) == record


@dataclasses.dataclass(frozen=True)
class Hasty(Jacobi):
    """Jacobi that says after one sweep that all is well."""

    def step(self, system: Any, x: Any, state: None, frontier: Any) -> Any:
        y, _, info = super().step(system, x, state, frontier)
        return y, None, info._replace(residual=jnp.zeros_like(info.residual))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"learning_rate": 1e30},
            r"training with jacobi: the loss is not finite after \d steps; try a lower learning_rate",
        ),
        ({"init_scale": 1e30}, "jacobi, before training: The exact solution itself holds a non-finite value"),
        ({"solvers": ["jacobi", "hasty"]}, "hasty, before training: the solver converged, but its gradient is off by"),
        ({"methods": ["hasty"]}, "hasty: the backward pass converged, but the gradient differs from jax.grad's by"),
    ],
)
def test_a_run_that_fails_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    sentence: str,
) -> None:
    in_the_table(monkeypatch, "hasty", Hasty)
    assert backprop(tmp_path, **{"solvers": ["jacobi"], "methods": ["jacobi"], "trainings": 1, **changes}) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match(f"error: {sentence}", error), error


# Mistakes in a config.


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 0}, "image_size should be at least 1, not 0"),
        ({"image_size": 2.5}, "image_size should be a whole number, not 2.5"),
        ({"repeats": 0}, "repeats should be at least 1, not 0"),
        ({"trainings": 0}, "trainings should be at least 1, not 0"),
        ({"train_steps": 0}, "train_steps should be at least 1, not 0"),
        ({"hidden_size": 0}, "hidden_size should be at least 1, not 0"),
        ({"num_sequences": 0}, "num_sequences should be at least 1, not 0"),
        ({"num_sequences": 501}, "num_sequences 501 is more than the 500 held-out images of mnist5k"),
        ({"smoothing": 1.0}, "smoothing should be less than 1, not 1"),
        ({"learning_rate": 0}, "learning_rate should be more than 0, not 0"),
        ({"cell": "elmann"}, "unknown cell 'elmann'; did you mean 'elman'?"),
        ({"cell": "gru", "activation": "tanh"}, "gru has activations of its own"),
        ({"activation": "softpluss"}, "unknown activation 'softpluss'; did you mean 'softplus'?"),
        ({"data": {"name": "mnist5"}}, "unknown dataset 'mnist5'; did you mean 'mnist5k'?"),
        ({"data": "mnist5k"}, "data should be a mapping of keys to values, not 'mnist5k'"),
        ({"dta": {"name": "mnist5k"}}, "unknown config key 'dta'; did you mean 'data'?"),
        ({"dataset": {"name": "mnist5k"}}, "config key 'dataset' belongs to an older code base; its successor is data"),
        ({"timed_runs": 5}, "its successor is repeats; what was repeats, how often each method trains, is trainings"),
        ({"solvers": []}, "solvers: expected a list of one or more solvers"),
        ({"methods": None}, "methods is missing"),
        ({"solvers": ["jacoby"]}, "solvers: unknown solver 'jacoby'; did you mean 'jacobi'?"),
        ({"methods": [{"name": "jacobi", "dampng": 1}]}, "methods: solver jacobi: unknown option 'dampng'"),
        ({"methods": [{"name": "jacobi", "max_steps": 0}]}, "max_steps should be a whole number of at least 1, not 0"),
        ({"methods": [{"name": "jacobi", "repeats": 3}]}, "solver jacobi: repeats and trace go with solvers"),
        ({"solvers": ["jacobi", "picky"]}, "solvers: solver picky: "),
        ({"methods": ["picky"]}, "methods: solver picky: "),
    ],
)
def test_mistakes_get_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    sentence: str,
) -> None:
    in_the_table(monkeypatch, "picky", Picky)
    assert backprop(tmp_path, **changes) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert not (tmp_path / "out").exists()


class Nothing:
    """A protocol that no system satisfies."""


@dataclasses.dataclass(frozen=True)
class Picky(Jacobi):
    requires = Nothing


def test_the_shipped_config_is_the_published_experiment() -> None:
    config = read_config(CONFIGS / "backprop.yml")
    published = {
        **{"image_size": 10, "cell": "elman", "activation": "softplus", "hidden_size": 128, "init_scale": 0.1},
        **{"learning_rate": 1e-4, "train_steps": 200, "trainings": 10, "repeats": 5},
        **{"smoothing": 0.95, "num_sequences": 10},
    }
    assert config.items() >= published.items()
    truncated = [entry["max_steps"] for entry in config["methods"] if entry["name"] == "jacobi"]
    assert truncated == [10, 20, 30, 50, 80]
