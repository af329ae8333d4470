import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file

from common.paths import REFERENCE, ROOT
from data import load_dataset
from models.weights import registry as checkpoints
from models.weights.load import load_checkpoint
from runners.cli.main import main
from runners.cli.publish import SCHEMA
from runners.config.schema import UsageError
from runners.experiment import RunContext
from runners.training.figures import training_figure
from runners.training.metrics import (
    ACCURACY,
    BITS_PER_DIM,
    CROSS_ENTROPY,
    DENOISING,
    HELD_OUT,
    SAMPLE_CROSS_ENTROPY,
    Evaluated,
)
from runners.training.runner import ship_checkpoint
from runners.training.store import StateStore
from runners.training.task import by_example
from runners.training.tasks.images import shifted
from runners.training.tasks.likelihood import LikelihoodTask
from tests.kit.results import OLD_RESULTS

EPOCHS = 40  # of 6 steps
TINY = {
    "model": {"name": "made", "num_inputs": 784, "hidden_sizes": [16]},
    "max_train_images": 330,
    "max_held_out_images": 70,
    "batch_size": 50,
    "epochs": EPOCHS,
    "learning_rate": 0.01,
    "warmup_steps": 3,
    "weight_decay": 0.1,
    "ema_decay": 0.9,
    "max_shift": 1,
    "eval_draws": 1,
    "sample_every_epochs": 20,
}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Programs compiled by one run are reused by the next; not by the one that is killed, another process."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.05,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    assert train(folder) == 0
    return folder


def arguments(folder, **changes):
    """The command line of a run whose files are all in ``folder``."""
    config = {**TINY, "state_dir": str(folder / "state"), **changes}
    (folder / "tiny.yml").write_text(yaml.safe_dump(config))
    return ["--runner", "TrainRunner", "--config", str(folder / "tiny.yml"), "--out", str(folder / "out")]


def train(folder, **changes):
    return main(arguments(folder, **changes))


def results(folder):
    return json.loads((folder / "out" / "results.json").read_text())


def assert_same_run(folder, other):
    """Weights and history equal bit for bit, all but the time taken."""
    first, second = (load_file(f / "out" / "weights.safetensors") for f in (folder, other))
    assert first.keys() == second.keys()
    assert all(first[key].tobytes() == second[key].tobytes() for key in first)
    histories = [[{**row, "seconds": 0} for row in results(f)["history"]] for f in (folder, other)]
    assert histories[0] == histories[1]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run in which Ctrl-C was pressed while it saved its third state."""
    folder = tmp_path_factory.mktemp("interrupted")
    save, count = StateStore.save, itertools.count(1)

    def save_and_press(self, snapshot):
        save(self, snapshot)
        if next(count) == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StateStore, "save", save_and_press)
        assert train(folder, save_every_s=0) == 130
    assert not (folder / "out").exists()
    return folder


@pytest.fixture
def unfinished(interrupted, tmp_path):
    """A copy of it."""
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_learns(finished):
    history = results(finished)["history"]
    assert [(row["epoch"], row["step"]) for row in history] == [(e, 6 * e) for e in range(1, EPOCHS + 1)]
    for key in ("train_bits_per_dim", "held_out_bits_per_dim", "held_out_bits_per_dim_ema"):
        values = [row[key] for row in history]
        assert values[-1] < values[9] < values[0], key
    assert history[-1]["held_out_bits_per_dim_ema"] < 3.5


def test_results_are_complete(finished):
    record = results(finished)
    assert set(record) == {
        *(
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
            "files",
        ),
        *("history", "held_out_bits_per_dim", "best_epoch", "samples", "wall_s"),
    }
    header = [record[key] for key in ("schema", "kind", "name", "runner", "seed")]
    assert header == [SCHEMA, "training", "tiny", "TrainRunner", 1234]
    assert record["config"]["model"]["clamp_lambda"] == 1e-6  # defaults are filled in
    assert record["held_out_bits_per_dim"] == record["history"][-1]["held_out_bits_per_dim_ema"]
    assert record["samples"] == {"batch_size": 64, "solver": "cached_sequential", "num_steps": 784}
    best = min(record["history"], key=lambda row: row["held_out_bits_per_dim_ema"])
    assert record["best_epoch"] == best["epoch"] == EPOCHS
    assert 0 < record["history"][0]["seconds"] <= record["history"][-1]["seconds"] <= record["wall_s"]
    assert {path.name for path in (finished / "out").iterdir()} == {
        *("results.json", "training.png", "samples.png", "weights.safetensors"),
    }
    for name in ("training.png", "samples.png"):
        with Image.open(finished / "out" / name) as image:
            assert min(image.size) > 200
    loaded = load_checkpoint(str(finished / "out" / "weights.safetensors"))
    assert loaded.info == {
        "dataset": "mnist5k",
        "bits_per_dim": record["held_out_bits_per_dim"],
        "epochs": EPOCHS,
        "seed": 1234,
        "config": "tiny",
    }
    assert not (finished / "state").exists()  # the run is finished


def test_resumes_after_interrupt_bit_for_bit(finished, unfinished, capsys):
    assert train(unfinished) == 0
    assert "resuming from step" in capsys.readouterr().err
    assert_same_run(finished, unfinished)


@pytest.mark.slow
def test_resumes_from_older_state_where_newest_is_damaged(finished, unfinished, capsys):
    states = sorted((path for path in (unfinished / "state" / "states").iterdir()), key=lambda path: int(path.name))
    assert len(states) == 2
    for path in states[-1].rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert train(unfinished) == 0
    assert f"resuming from step {states[0].name} " in capsys.readouterr().err
    assert_same_run(finished, unfinished)


@pytest.mark.slow  # a process of its own compiles all of it; the cousin above is interrupted in this one
def test_resumes_after_kill_bit_for_bit(finished, tmp_path):
    command = [sys.executable, "-W", "error", str(ROOT / "main.py"), *arguments(tmp_path, save_every_s=0)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        states = tmp_path / "state" / "states"
        give_up = time.monotonic() + 60
        while not (states.is_dir() and any(path.name.isdigit() for path in states.iterdir())):
            assert process.poll() is None, "the run ended before its first state"
            assert time.monotonic() < give_up
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert train(tmp_path) == 0
    assert_same_run(finished, tmp_path)


def test_shows_samples_and_weights_while_it_trains(unfinished):
    """The run was interrupted in its third slice, whatever epoch that was, and saved its state just then."""
    best, *others = sorted((unfinished / "state" / "progress").iterdir())
    assert best.name == "best.safetensors"
    loaded = load_checkpoint(str(best))
    assert loaded.info.keys() == {"dataset", "bits_per_dim", "epochs", "seed", "config"}
    shown = [name for epoch in range(20, loaded.info["epochs"] + 1, 20) for name in (f"samples_{epoch:04d}.png",)]
    assert [path.name for path in others] == (["latest.safetensors", *shown] if shown else [])


def test_shows_as_often_as_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(StateStore, "remove", StateStore.close)
    assert train(tmp_path, sample_every_epochs=2, epochs=5) == 0
    progress = tmp_path / "state" / "progress"
    names = ["best.safetensors", "latest.safetensors", "samples_0002.png", "samples_0004.png"]
    assert sorted(path.name for path in progress.iterdir()) == names
    history = results(tmp_path)["history"]
    for name, epoch in (("latest", 4), ("best", 5)):
        info = load_checkpoint(str(progress / f"{name}.safetensors")).info
        assert (info["epochs"], info["bits_per_dim"]) == (epoch, history[epoch - 1]["held_out_bits_per_dim_ema"])
    with Image.open(progress / "samples_0002.png") as early, Image.open(progress / "samples_0004.png") as late:
        assert early.size == late.size
        assert early.tobytes() != late.tobytes()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")]
    assert [line.split(":")[0] for line in lines] == [f"epoch {epoch}/5" for epoch in range(1, 6)]
    for line, row in zip(lines, history, strict=True):
        assert f"train {row['train_bits_per_dim']:.3f}, held-out {row['held_out_bits_per_dim_ema']:.3f}; " in line
    assert lines[-1].endswith(" s, 0 s left")


def test_best_weights_are_kept_where_they_are_not_the_last(tmp_path):
    """A learning rate that does harm after a while."""
    changes = {"learning_rate": 0.5, "lr_schedule": "constant", "warmup_steps": 12, "ema_decay": 0.5, "epochs": 6}
    assert train(tmp_path, sample_every_epochs=0, **changes) == 0
    record = results(tmp_path)
    values = [row["held_out_bits_per_dim_ema"] for row in record["history"]]
    assert values[record["best_epoch"] - 1] == min(values) < values[-1]
    info = load_checkpoint(str(tmp_path / "out" / "best.safetensors")).info
    assert (info["epochs"], info["bits_per_dim"]) == (record["best_epoch"], min(values))
    assert record["held_out_bits_per_dim"] == values[-1]
    assert not (tmp_path / "state").exists()


def test_state_of_another_config_is_refused(unfinished, capsys):
    before = sorted(os.listdir(unfinished / "state" / "states"))
    assert train(unfinished, learning_rate=0.02) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "learning_rate: 0.01" in message
    assert "learning_rate: 0.02" in message
    assert "state_dir" in message
    assert sorted(os.listdir(unfinished / "state" / "states")) == before


def test_folder_that_is_no_state_is_refused(tmp_path, capsys):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "thesis.txt").write_text("years of work")
    assert train(tmp_path) == 2
    assert "choose another state_dir" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["thesis.txt"]


def test_non_finite_loss_fails_and_leaves_old_results(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text(OLD_RESULTS)
    assert train(tmp_path, learning_rate=1e30, grad_clip=None, warmup_steps=0) == 1
    assert f"not finite at step 1 of {6 * EPOCHS}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "state", "tiny.yml"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"name": "mad", "num_inputs": 784}}, "did you mean 'made'"),
        ({"model": {"name": "made", "num_inputs": 784, "hidden": [5]}}, "hidden_sizes"),
        ({"model": {"name": "made", "num_inputs": 100}}, "[10, 10, 1]"),
        ({"learning_rat": 0.1}, "did you mean 'learning_rate'"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch_size": 331}, "330 training images"),
        ({"warmup_steps": 6 * EPOCHS}, "warmup_steps"),
        ({"checkpoint_name": "../elsewhere"}, "checkpoint_name"),
    ],
)
def test_mistakes_in_config_are_one_sentence(tmp_path, capsys, changes, words):
    assert train(tmp_path, **changes) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_state_inside_results_folder_is_refused(tmp_path, capsys):
    assert train(tmp_path, state_dir=str(tmp_path / "out" / "state")) == 2
    assert "results folder" in capsys.readouterr().err


def test_ships_rounded_weights_when_asked(tmp_path, monkeypatch, capsys):
    shipped = tmp_path / "checkpoints"
    shipped.mkdir()
    (shipped / "registry.json").write_text('{"other": {"file": "other.safetensors"}}')
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", shipped)
    assert train(tmp_path, checkpoint_name="tiny_made", weights_dtype="float16", epochs=2) == 0
    entries, record = checkpoints.registry(), results(tmp_path)
    assert set(entries) == {"other", "tiny_made"}
    assert entries["tiny_made"]["bits_per_dim"] == record["held_out_bits_per_dim"]
    # Evaluated as stored: near the unrounded weights' figure, and not the same.
    assert 0 < abs(record["held_out_bits_per_dim"] - record["history"][-1]["held_out_bits_per_dim_ema"]) < 0.01
    loaded = load_checkpoint("tiny_made", {"name": "made", "num_inputs": 784})
    again = mean_bits(loaded.model, load_dataset("mnist5k").held_out[:70], draws=2, batch_size=50)
    assert abs(again - record["held_out_bits_per_dim"]) < 0.02
    # The same command with other keys does not take the name.
    for key, value in {"learning_rate": 1e-4, "batch_size": 40, "weights_dtype": "float32"}.items():
        changes = {"checkpoint_name": "tiny_made", "weights_dtype": "float16", "epochs": 2, key: value}
        assert train(tmp_path, **changes) == 2
        assert f"trained with another {key};" in capsys.readouterr().err


def test_state_stays_until_the_weights_are_written(tmp_path, monkeypatch, capsys):
    """And the same command then goes on from it, with nothing left to train."""

    def fail(*_, **__):
        raise OSError("no room left")

    shipped = tmp_path / "checkpoints"
    shipped.mkdir()
    (shipped / "registry.json").write_text("{}")
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", shipped)
    changes = {"epochs": 1, "sample_every_epochs": 0, "checkpoint_name": "tiny"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runners.training.report.save_weights", fail)
        assert train(tmp_path, **changes) == 1
    assert "weights.safetensors could not be written: no room left" in capsys.readouterr().err
    assert (tmp_path / "out" / "results.json").is_file()
    assert checkpoints.registry() == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runners.training.runner.ship", fail)
        assert train(tmp_path, **changes) == 1
    captured = capsys.readouterr()
    assert "resuming from step 6 of 6" in captured.err
    assert captured.err.endswith("error: no room left\n")
    assert "held-out bits/dim" in captured.out
    assert (tmp_path / "state" / "states").is_dir()
    assert train(tmp_path, **changes) == 0
    assert not (tmp_path / "state").exists()
    assert list(checkpoints.registry()) == ["tiny"]


def test_name_of_weights_from_another_config_is_refused(tmp_path, capsys):
    before = (checkpoints.CHECKPOINTS / "registry.json").read_bytes()
    assert train(tmp_path, checkpoint_name="made_mnist") == 2
    message = capsys.readouterr().err
    assert message.startswith("error: checkpoint_name 'made_mnist': the registry has weights of this name from another")
    assert "--config train_made_mnist.yml" in message
    assert message.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.yml"]
    assert (checkpoints.CHECKPOINTS / "registry.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"name": "made", "num_inputs": 784, "hidden_sizes": [8]}, "epochs": 400}, "another hidden_sizes;"),
        ({"epochs": 1}, "another epochs;"),
        ({"epochs": 400, "seed": 5}, "another seed;"),
        ({"stop_after": 1}, "another epochs;"),
        ({"max_train_images": 200}, "another max_train_images;"),
    ],
)
def test_a_try_does_not_replace_weights_of_its_own_config(changes, words, tmp_path, capsys):
    """The command that the registry has is that of the config with its keys as they stand."""
    before = (checkpoints.CHECKPOINTS / "registry.json").read_bytes()
    config = yaml.safe_load((ROOT / "configs" / "train_made_mnist.yml").read_text())
    path = tmp_path / "train_made_mnist.yml"
    path.write_text(yaml.safe_dump({**config, "warmup_steps": 0, "checkpoint_name": "made_mnist", **changes}))
    assert main(["--runner", "TrainRunner", "--config", str(path), "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name]
    assert (checkpoints.CHECKPOINTS / "registry.json").read_bytes() == before


def test_name_that_another_run_took_in_the_meantime_is_not_overwritten(tmp_path, monkeypatch):
    (tmp_path / "registry.json").write_text('{"tiny": {"file": "tiny.safetensors", "retrain": "otherwise"}}')
    shutil.copy(checkpoints.CHECKPOINTS / "made_mnist.safetensors", tmp_path / "weights.safetensors")
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    context = RunContext("TrainRunner", "tiny", tmp_path, Console(quiet=True))
    with pytest.raises(UsageError, match="from another config"):
        ship_checkpoint("tiny", context, {}, tmp_path)
    assert not (tmp_path / "tiny.safetensors").exists()
    assert json.loads((tmp_path / "registry.json").read_text())["tiny"]["retrain"] == "otherwise"


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("train_*/results.json")), ids=lambda path: path.parent.name)
def test_curves_are_redrawn_from_results_alone(path):
    record = json.loads(path.read_text())
    if "held_out_accuracy" in record:
        metrics, evaluated = [CROSS_ENTROPY, ACCURACY], HELD_OUT
    elif "accuracy" in record:
        metrics, evaluated = [SAMPLE_CROSS_ENTROPY, ACCURACY], Evaluated("", record["evaluated_on"])
    else:
        metrics = [DENOISING if "train_denoising_loss" in record["history"][0] else BITS_PER_DIM]
        evaluated = HELD_OUT
    panels = training_figure(record["history"], metrics, evaluated, record["name"]).axes
    assert [panel.get_ylabel() for panel in panels] == [metric.axis for metric in metrics]
    for panel, metric in zip(panels, metrics, strict=True):
        lines = {line.get_label(): line.get_ydata() for line in panel.get_lines()}
        averaged = lines[f"{evaluated.words.replace('-', ' ')}, averaged weights"]
        assert averaged[-1] == record["history"][-1][evaluated.averaged_key(metric)]


def mean_bits(model, images, seed=0, *, draws, batch_size):
    """The mean bits/dim of images as it is evaluated in a training."""
    examples = np.asarray(images), np.zeros(len(images), np.int32)
    scores = LikelihoodTask.scores(model, examples, jax.random.key(seed), draws=draws, batch_size=batch_size)
    return by_example(scores, [BITS_PER_DIM], len(images), draws)["bits_per_dim"].mean()


def test_held_out_mean_leaves_no_image_out_and_counts_none_twice():
    class Brightness(nnx.Module):
        def bits_per_dim(self, images, key):
            return jnp.mean(images.astype(jnp.float32), axis=(1, 2, 3))

    images = jnp.arange(7, dtype=jnp.uint8).reshape(7, 1, 1, 1)
    for batch_size in (1, 3, 7, 100):
        assert mean_bits(Brightness(), images, draws=2, batch_size=batch_size) == pytest.approx(3.0)


def test_shifted_moves_each_image_by_itself():
    image = np.zeros((7, 7, 1), np.uint8)
    image[3, 3] = 9
    moved = np.asarray(shifted(jnp.tile(image, (300, 1, 1, 1)), jax.random.key(0), 2))
    places = {tuple(place) for place in np.argwhere(moved)[:, 1:3]}
    assert places == {(y, x) for y in range(1, 6) for x in range(1, 6)}
    assert moved.sum() == 300 * 9


SHIPPED = {name: entry["model"] for name, entry in checkpoints.registry().items() if "bits_per_dim" in entry}
FEW = 16  # images that do for a look at a model of which a pass takes long
AT_MOST = {"made_mnist": 2.2}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((name, FEW if model == "pixelcnnpp" else None) for name, model in SHIPPED.items()),
        *(pytest.param(name, None, marks=pytest.mark.slow) for name, model in SHIPPED.items() if model == "pixelcnnpp"),
    ],
)
def test_shipped_checkpoint_is_as_good_as_the_registry_says(name: str, count: int | None) -> None:
    """On a few images spread over the held-out part, or on all of it."""
    entry, loaded = checkpoints.registry()[name], load_checkpoint(name)
    held_out = load_dataset(entry["dataset"]).held_out
    images = held_out if count is None else held_out[:: len(held_out) // count][:count]
    bits = mean_bits(loaded.model, images, seed=99, draws=1, batch_size=count or 50)
    assert bits == pytest.approx(entry["bits_per_dim"], abs=0.005 if count is None else 0.2 * entry["bits_per_dim"])
    assert bits <= AT_MOST.get(name, np.inf)
    assert loaded.info["dataset"] == entry["dataset"]


def test_one_run_to_a_state_folder(tmp_path: Path) -> None:
    console = Console(quiet=True)
    store = StateStore(tmp_path / "state", {"a": 1}, console)
    with pytest.raises(UsageError, match="is in use by another run"):
        StateStore(tmp_path / "state", {"a": 1}, console)
    store.close()
    StateStore(tmp_path / "state", {"a": 1}, console).close()
