"""The experiment on backpropagation, from sequences and single gradients to the files that a run leaves behind."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx
from PIL import Image

import solvers
from common.paths import CONFIGS
from data import load_dataset
from data.images.sequences import pixel_sequences
from models.rnn.gradients import backward_system
from models.rnn.model import RNN, RNNConfig
from models.rnn.network import RNNNetwork
from runners.cli.main import main
from runners.config.files import read_config
from runners.config.solvers import labels, parse_entry
from runners.measure.timing import Times
from runners.rnn.backprop.errors import ErrorTracer, GradientErrors
from runners.rnn.backprop.gradients import backward_pass, plain_gradients, relative_deviation, solved_gradients
from runners.rnn.backprop.summary import TrainingTable
from runners.rnn.backprop.training import Method, SolverTraining, Task, train_all
from solvers import CachedSequential, Jacobi, solve
from solvers.linear.prefix_scan import chain_length

SIZE, SEQUENCES, STEPS, REPEATS = 4, 3, 5, 2
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
    "repeats": REPEATS,
    "timed_runs": 1,
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
    shared = {"schema", "name", "runner", "config", "seed", "device", "versions", "git_commit"}
    assert set(record) == shared | {"system", "error_reference", "fastest", "rows", "training", "skipped", "findings"}
    assert (record["schema"], record["name"], record["runner"], record["seed"]) == (1, "tiny", "BackpropRunner", 3)
    assert {frozenset(row) for row in record["rows"]} == {frozenset(ROW)}
    assert set(record["training"]) == {"reference", "target_loss", "rows"}
    assert {frozenset(row) for row in record["training"]["rows"]} == {frozenset(TRAINING_ROW)}
    assert (record["system"]["num_equations"], record["system"]["batch_size"]) == (T, SEQUENCES)
    assert record["config"]["model"]["cell"] == "elman"
    assert record["config"]["dataset"] == {"name": "mnist5k", "root": None, "download": False}
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
    assert expected.shape == (REPEATS, STEPS)
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
    assert len({tuple(loss) for loss in expected}) == REPEATS  # other weights, other images
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


def test_weights_and_images_follow_from_the_seed_which_counts_up(finished: Path, tmp_path: Path) -> None:
    assert backprop(tmp_path, "--seed", "4", solvers=["jacobi"], methods=["cached_sequential"], repeats=1) == 0
    expected = arrays(finished)["training/cached_sequential/loss"]
    np.testing.assert_allclose(arrays(tmp_path)["training/cached_sequential/loss"][0], expected[1], rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": "gru", "image_size": 1},
        {"cell": "lstm", "image_size": 2, "dataset": {"name": "photos32"}},
    ],
)
def test_any_cell_length_and_dataset(tmp_path: Path, changes: dict[str, Any]) -> None:
    quick = {"solvers": ["cached_sequential", "jacobi"], "methods": ["jacobi"], "train_steps": 2, "repeats": 1}
    assert backprop(tmp_path, **quick, **changes) == 0
    record = results(tmp_path)
    assert {row["status"] for row in record["rows"]} == {"converged"}
    assert all(row["relative_error"] <= 1e-5 for row in record["rows"])
    assert record["training"]["rows"][0]["gradient_deviation"] <= 1e-5
    assert record["system"]["num_equations"] == changes.get("image_size", SIZE) ** 2


def test_naive_sequential_is_left_out_of_long_sequences_and_entries_may_have_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runners.rnn.backprop.runner.NAIVE_LIMIT", T - 1)
    entries = ["sequential", {"name": "cached_sequential", "repeats": 2}, {"name": "jacobi", "trace": False}]
    assert backprop(tmp_path, solvers=entries, methods=["jacobi", "sequential"], train_steps=1, repeats=1) == 0
    record = results(tmp_path)
    assert [row["label"] for row in record["rows"]] == 2 * ["cached_sequential", "jacobi"]
    assert [(skipped["list"], skipped["label"]) for skipped in record["skipped"]] == [
        ("solvers", "sequential"),
        ("methods", "sequential"),
    ]
    said = capsys.readouterr().out
    assert f"solvers: sequential was left out: its work grows with the square of T, which is {T}" in said
    assert [row["run_s"]["n"] for row in record["rows"]] == [2, 1, 2, 1]
    assert [row["gradient"] is None for row in record["rows"]] == [False, True, False, True]
    assert record["rows"][1]["relative_error"] <= 1e-5
    assert not any("jacobi" in name for name in arrays(tmp_path) if name.startswith(("start", "end")))
    assert backprop(tmp_path, solvers=["sequential"], methods=["jacobi"]) == 2
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
    monkeypatch.setitem(solvers.SOLVERS.places, "hasty", f"{__name__}:Hasty")
    assert backprop(tmp_path, **{"solvers": ["jacobi"], "methods": ["jacobi"], "repeats": 1, **changes}) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match(f"error: {sentence}", error), error


# Mistakes in a config.


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 0}, "image_size should be at least 1, not 0"),
        ({"image_size": 2.5}, "image_size should be a whole number, not 2.5"),
        ({"repeats": 0}, "repeats should be at least 1, not 0"),
        ({"train_steps": 0}, "train_steps should be at least 1, not 0"),
        ({"hidden_size": 0}, "hidden_size should be at least 1, not 0"),
        ({"num_sequences": 0}, "num_sequences should be at least 1, not 0"),
        ({"num_sequences": 501}, "num_sequences 501 is more than the 500 held-out images of mnist5k"),
        ({"smoothing": 1.0}, "smoothing should be less than 1, not 1"),
        ({"learning_rate": 0}, "learning_rate should be more than 0, not 0"),
        ({"cell": "elmann"}, "unknown cell 'elmann'; did you mean 'elman'?"),
        ({"cell": "gru", "activation": "tanh"}, "gru has activations of its own"),
        ({"activation": "softpluss"}, "unknown activation 'softpluss'; did you mean 'softplus'?"),
        ({"dataset": {"name": "mnist5"}}, "unknown dataset 'mnist5'; did you mean 'mnist5k'?"),
        ({"dataset": "mnist5k"}, "dataset should be a mapping of keys to values, not 'mnist5k'"),
        ({"datset": {"name": "mnist5k"}}, "unknown config key 'datset'; did you mean 'dataset'?"),
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
    monkeypatch.setitem(solvers.SOLVERS.places, "picky", f"{__name__}:Picky")
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


# Sequences.


def test_pixels_come_in_raster_order_from_0_to_1() -> None:
    images = np.zeros((2, 6, 6, 1), np.uint8)
    images[1, :2, 2:4] = 255
    sequences = pixel_sequences(images, 3)
    assert (sequences.shape, sequences.dtype) == ((9, 2, 1), np.float32)
    assert not sequences[:, 0].any()
    assert int(np.argmax(sequences[:, 1, 0])) == 1
    same = pixel_sequences(images, 6)
    np.testing.assert_array_equal(same[:, 1, 0], images[1].ravel() / np.float32(255))


def test_colours_are_inputs_of_one_equation() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(pixel_sequences(images, 5)[7, 2], images[2, 1, 2] / np.float32(255))
    grey = np.repeat(images[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(pixel_sequences(grey, 2)[..., :1], pixel_sequences(images[..., :1], 2))


def test_resizing_averages() -> None:
    image = load_dataset("mnist5k").held_out[:4]
    small = pixel_sequences(image, 10)
    np.testing.assert_allclose(small.mean(axis=(0, 2)), image.mean(axis=(1, 2, 3)) / 255, atol=0.02)


# Gradients.


def model(cell: str = "elman", hidden_size: int = 7, seed: int = 0) -> RNNNetwork:
    return RNN(RNNConfig(cell, 1, hidden_size), rngs=nnx.Rngs(seed)).fold()


def pixels(num_equations: int, batch: int, seed: int = 0) -> jax.Array:
    return jax.random.uniform(jax.random.key(seed), (num_equations, batch, 1))


def test_scaling_by_powers_of_two_rounds_nothing() -> None:
    def both(network: RNNNetwork, inputs: jax.Array) -> Any:
        backward, states = backward_pass(network, inputs), network.states(inputs)
        plain = solve(backward_system(network, inputs, states, inputs), CachedSequential()).value
        scaled = solve(backward.system, CachedSequential()).value
        return backward, plain, jnp.ldexp(scaled, backward.exponent[:, None])

    backward, plain, scaled_back = jax.jit(both)(model("lstm"), pixels(9, 4))
    largest = np.abs(backward.system.source).max(axis=(0, 2))
    assert (largest >= 0.5).all()
    assert (largest < 1.0).all()
    np.testing.assert_array_equal(scaled_back, plain)


def test_a_loss_of_zero_has_a_gradient_of_zero() -> None:
    entry, network, inputs = parse_entry("jacobi"), jax.tree.map(jnp.zeros_like, model()), jnp.zeros((5, 2, 1))

    @jax.jit
    def gradients(network: RNNNetwork, inputs: jax.Array) -> Any:
        backward = backward_pass(network, inputs)
        return backward.system, solved_gradients(network, inputs, backward, entry), plain_gradients(network, inputs)

    system, solved, plain = gradients(network, inputs)
    assert bool(solved.converged)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves((solved.parameters, plain)))
    assert float(relative_deviation(solved.parameters, plain)) == 0
    errors = ErrorTracer(entry).errors(system, system.initial_guess())
    assert not errors.error.any()
    assert ErrorTracer(entry).errors(system, jnp.ones_like(system.source)).error.max() == 1
    source = dataclasses.replace(system, source=jnp.ones_like(system.source))
    assert np.isinf(ErrorTracer(entry).errors(source, system.initial_guess()).error).all()


def test_errors_are_relative_and_by_sequence() -> None:
    network, inputs = model(), pixels(12, 3)
    system = backward_pass(network, inputs).system
    reference = np.asarray(solve(system, CachedSequential()).value)
    errors = ErrorTracer(parse_entry({"name": "jacobi", "max_steps": 4})).errors(system, reference)
    np.testing.assert_array_equal(errors.num_steps, [1, 2, 3, 4])
    x = system.initial_guess()
    for step in range(4):
        x = system.sweep(x)
        expected = np.abs(np.asarray(x) - reference).max(axis=(0, 2)) / np.abs(reference).max(axis=(0, 2))
        np.testing.assert_allclose(errors.error[step], expected, rtol=1e-4)


def test_steps_are_counted_to_where_the_error_stays_small() -> None:
    error = np.array([[1.0, 1e-9, 1.0], [1e-6, 1.0, 1.0], [0.0, 1e-6, np.nan]])
    errors = GradientErrors(np.array([2, 4, 6]), error)
    assert errors.steps_to(1e-5) == [4, 6, None]
    assert errors.steps_to(0.0) == [6, None, None]
    assert [errors.mean_after(steps) for steps in (1, 2, 5)] == pytest.approx([1.0, 2 / 3, (2 + 1e-6) / 3])
    assert GradientErrors(np.array([3]), np.array([[0.0]])).steps_to(0.0) == [3]


# Training.


def tasks(count: int, num_steps: int = 4) -> list[Task]:
    return [
        Task(model(seed=seed), np.asarray(pixels(8, num_steps, seed).swapaxes(0, 1)[:, :, None]))
        for seed in range(count)
    ]


def plain_training(task: Task, learning_rate: float) -> tuple[list[float], RNNNetwork]:
    """Gradient descent as it is usually written."""

    @jax.jit
    @jax.value_and_grad
    def evaluate(network: RNNNetwork, inputs: Any) -> Any:
        return network.loss(network.states(inputs), inputs)

    network, losses = task.model, []
    for inputs in task.sequences:
        loss, gradients = evaluate(network, inputs)
        network = jax.tree.map(lambda p, g: p - learning_rate * g, network, gradients)
        losses.append(float(loss))
    return losses, network


def test_training_is_plain_gradient_descent_whatever_solves_the_backward_pass() -> None:
    entries = [parse_entry(entry) for entry in ("cached_sequential", "jacobi", "parallel_scan")]
    chosen = tasks(2)
    methods = [Method(label, entry, 0.05, chosen[0]) for label, entry in zip(labels(entries), entries, strict=True)]
    turns: list[int] = []
    trainings = train_all(methods, iter(chosen), lambda: turns.append(1))
    assert len(turns) == len(methods) * len(chosen)
    for i, task in enumerate(chosen):
        losses, trained = plain_training(task, 0.05)
        assert losses[-1] != losses[0]
        for training in trainings:
            np.testing.assert_allclose(training.losses[i], losses, rtol=1e-5)
            assert float(relative_deviation(training.models[i], trained)) < 1e-5
            assert training.gradient_deviation < 1e-5


def test_methods_take_turns() -> None:
    order: list[str] = []

    def method(label: str) -> Any:
        return SimpleNamespace(measure=lambda: label, train=lambda task, training: order.append(f"{training}{task}"))

    assert train_all([method("a"), method("b")], iter([0, 1, 2]), lambda: None) == ["a", "b"]  # type: ignore[list-item]
    assert order == ["a0", "b0", "b1", "a1", "a2", "b2"]


def test_smoothing_is_a_moving_average() -> None:
    loss = np.array([[4.0, 8.0, 2.0], [1.0, 1.0, 1.0]])
    training = SolverTraining("jacobi", parse_entry("jacobi"), 0.0, 0.0, Times.of([1.0]), losses=list(loss))
    np.testing.assert_allclose(training.smoothed(0.75), [[4.0, 5.0, 4.25], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(training.smoothed(0.0), loss)
    np.testing.assert_array_equal(training.losses, loss)


def test_trainings_are_compared_by_what_it_takes_to_reach_the_reference_s_loss() -> None:
    def training(label: str, losses: list[float], seconds: float, steps: int) -> SolverTraining:
        return SolverTraining(
            label,
            parse_entry(label),
            *(0.0, 0.0, Times.of([1.0])),
            losses=[np.array(losses)],
            seconds=[np.full(len(losses), seconds)],
            num_steps=[np.full(len(losses), steps)],
            converged=[np.full(len(losses), True)],
        )

    scan = training("cached_sequential", [8.0, 4.0, 2.0, 2.01, 2.0], 1.0, 100)
    quick, never = training("jacobi", [8.0, 6.0, 4.0, 2.5, 2.02], 0.25, 10), training("picard", [8.0] * 5, 0.1, 1)
    table = TrainingTable([scan, quick, never], scan, 0.0)
    assert table.target == 2.0
    assert table.record(scan)["to_target"] == {"train_steps": 3, "seconds": 3.0, "num_steps": 300}
    assert table.record(quick)["to_target"] == {"train_steps": 5, "seconds": 1.25, "num_steps": 50}
    assert table.record(quick)["speedup"] == {"seconds": 2.4, "num_steps": 6}
    assert table.record(never)["to_target"] is None
    assert table.record(never)["speedup"] == {"seconds": None, "num_steps": None}


def test_the_shipped_config_is_the_published_experiment() -> None:
    config = read_config(CONFIGS / "backprop.yml")
    published = {
        **{"image_size": 10, "cell": "elman", "activation": "softplus", "hidden_size": 128, "init_scale": 0.1},
        **{"learning_rate": 1e-4, "train_steps": 200, "repeats": 10, "smoothing": 0.95, "num_sequences": 10},
    }
    assert config.items() >= published.items()
    truncated = [entry["max_steps"] for entry in config["methods"] if entry["name"] == "jacobi"]
    assert truncated == [10, 20, 30, 50, 80]
