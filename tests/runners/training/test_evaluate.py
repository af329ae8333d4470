"""A checkpoint's metrics on images or on a clip, from the command line to results.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx

from data import load_dataset
from data.audio.clip import write_wave
from models import build
from models.weights.load import load_checkpoint
from models.weights.native import save_checkpoint
from runners.cli.main import main
from runners.cli.publish import SCHEMA
from runners.training.config import AudioConfig, ClassifierConfig
from runners.training.task import Scores
from runners.training.tasks.audio import AudioTask
from runners.training.tasks.classifier import ClassifierTask
from runners.training.tasks.likelihood import LikelihoodTask
from tests.kit.results import OLD_RESULTS

ARCHITECTURE = {"name": "made", "num_inputs": 784, "hidden_sizes": [8]}
DENSENET = {
    **{"name": "densenet", "growth_rate": 4, "block_layers": [2], "num_init_features": 4, "num_classes": 10},
    **{"image_shape": [28, 28, 1], "stem": "small", "pixel_mean": [0.13], "pixel_std": [0.31]},
}
WAVENET = {"name": "wavenet", "dilations": [1, 2], "num_hidden": 4, "num_classes": 16, "sample_rate": 1000}
STREAMING = {"name": "streaming"}
LENGTH, RATE = 4500, 1000  # of the clip: more than is evaluated at once
KEYS = {"schema", "kind", "name", "runner", "config", "seed", "device", "versions", "precision", "git_commit", "files"}
KEYS |= {"matmul_precision", "wall_s"}


def tiny() -> Any:
    return build(ARCHITECTURE, seed=0)


def results(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    return record


def evaluate(folder: Path, model: dict[str, Any] = ARCHITECTURE, **changes: Any) -> int:
    save_checkpoint(folder / "tiny.safetensors", model["name"], build(model, seed=0), {"dataset": "none"})
    config = {"checkpoint": str(folder / "tiny.safetensors"), "batch_size": 30, "max_images": 70, **changes}
    (folder / "c.yml").write_text(yaml.safe_dump(config))
    return main(["--runner", "EvaluateRunner", "--config", str(folder / "c.yml"), "--out", str(folder / "out")])


@pytest.mark.parametrize("part", ["held_out", "train"])
def test_results_are_the_mean_and_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str) -> None:
    assert evaluate(tmp_path, part=part, draws=2, seed=5) == 0
    record = results(tmp_path)
    assert set(record) == KEYS | {"bits_per_dim", "num_images", "seconds"}
    header = [record[key] for key in ("schema", "kind", "name", "runner", "seed")]
    assert header == [SCHEMA, "evaluation", "c", "EvaluateRunner", 5]
    assert record["config"] == {
        "checkpoint": str(tmp_path / "tiny.safetensors"),
        "model": {**ARCHITECTURE, "clamp_lambda": 1e-6, "image_shape": None},
        "data": {"name": "mnist5k", "root": None, "download": False},
        **{"part": part, "batch_size": 30, "draws": 2, "max_images": 70, "seed": 5, "weights": {"dataset": "none"}},
    }
    assert record["num_images"] == 70
    assert record["seconds"] > 0
    images = getattr(load_dataset("mnist5k"), part)[:70]
    key = jax.random.key(5)
    bits, model = np.zeros(70), tiny()
    for i in range(6):  # batches of 30, the last of each draw filled up with its last image
        rows = np.arange(30) + i % 3 * 30
        filled = jnp.asarray(images[np.minimum(rows, 69)])
        values = np.asarray(model.bits_per_dim(filled, jax.random.fold_in(key, i)))[rows < 70]
        bits[rows[rows < 70]] += values / 2
    assert record["bits_per_dim"]["mean"] == pytest.approx(bits.mean(), abs=1e-5)
    assert record["bits_per_dim"]["standard_error"] == pytest.approx(np.std(bits, ddof=1) / np.sqrt(70))
    said = capsys.readouterr().out
    assert f": {record['bits_per_dim']['mean']:.4f} +- " in said
    assert f"70 {'held-out' if part == 'held_out' else 'training'} images of mnist5k" in said


def test_shipped_checkpoint_is_as_good_as_its_registry_says(tmp_path: Path) -> None:
    assert evaluate(tmp_path, checkpoint="made_mnist", batch_size=100, max_images=None) == 0
    record = results(tmp_path)
    told = record["config"]["weights"]["bits_per_dim"]
    assert record["num_images"] == 500
    assert record["bits_per_dim"]["mean"] == pytest.approx(told, abs=0.005)
    assert 0.005 < record["bits_per_dim"]["standard_error"] < 0.05


def test_one_image_has_no_standard_error(tmp_path: Path) -> None:
    assert evaluate(tmp_path, max_images=1) == 0
    record = results(tmp_path)
    assert record["bits_per_dim"]["standard_error"] is None
    assert record["num_images"] == 1


def test_interrupt_leaves_old_results_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text(OLD_RESULTS)

    def pressed(*_: Any, **__: Any) -> Any:
        yield Scores(np.arange(30), {"bits_per_dim": np.ones(30)})
        raise KeyboardInterrupt

    monkeypatch.setattr(LikelihoodTask, "scores", pressed)
    assert evaluate(tmp_path) == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]
    assert (tmp_path / "out" / "results.json").read_text() == OLD_RESULTS


def test_every_image_counts_once_in_each_draw() -> None:
    class Brightness(nnx.Module):
        def bits_per_dim(self, images: jax.Array, key: jax.Array) -> jax.Array:
            return jnp.mean(images.astype(jnp.float32), axis=(1, 2, 3))

    images, key = (np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1), np.zeros(7, np.int32)), jax.random.key(0)
    for batch_size in (1, 3, 7, 100):
        total = np.zeros(7)
        for rows, values in LikelihoodTask.scores(Brightness(), images, key, draws=2, batch_size=batch_size):
            total[rows] += values["bits_per_dim"]
        np.testing.assert_array_equal(total, 2.0 * np.arange(7))


@pytest.mark.parametrize("part", ["held_out", "train"])
def test_classifier_is_evaluated_as_its_training_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    assert evaluate(tmp_path, DENSENET, part=part, draws=3) == 0
    record = results(tmp_path)
    assert set(record) == KEYS | {"cross_entropy", "accuracy", "num_images", "seconds"}
    assert record["num_images"] == 70
    dataset, model = load_dataset("mnist5k"), load_checkpoint(str(tmp_path / "tiny.safetensors")).model
    images, labels = (getattr(dataset, name)[:70] for name in (part, f"{part}_labels"))
    logits = np.asarray(jax.jit(lambda x: model(model.from_images(x)))(jnp.asarray(images)), np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    entropies, right = -logs[np.arange(70), labels], np.argmax(logits, -1) == labels
    for key, values in (("cross_entropy", entropies), ("accuracy", right)):
        assert record[key]["mean"] == pytest.approx(values.mean(), rel=1e-5)
        assert record[key]["standard_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(70), rel=1e-4)
    if part == "held_out":
        config = ClassifierConfig(model=DENSENET, max_train_images=100, max_held_out_images=70, batch_size=30)
        told = ClassifierTask(config, model).evaluate(model, jax.random.key(0))
        assert told == pytest.approx({key: record[key]["mean"] for key in told}, rel=1e-5)
    said = capsys.readouterr().out
    assert f": {record['cross_entropy']['mean']:.4f} +- " in said
    assert f" cross-entropy (nats), {right.mean():.2%} +- " in said
    assert said.endswith(f"(70 {'held-out' if part == 'held_out' else 'training'} images of mnist5k)\n")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    write_wave(path, np.sin(0.3 * np.arange(LENGTH)), RATE)
    return str(path)


@pytest.mark.parametrize(
    ("part", "held_out", "words"),
    [("held_out", 0, ""), ("train", 0, ""), ("held_out", 300, "held-out "), ("train", 300, "training ")],
)
def test_model_of_sound_is_evaluated_as_its_training_does(
    clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, held_out: int, words: str
) -> None:
    data = {"wav": clip, "sample_rate": RATE, "held_out_s": held_out / RATE}
    assert evaluate(tmp_path, WAVENET, data=data, part=part, max_images=None) == 0
    record = results(tmp_path)
    assert set(record) == KEYS | {"cross_entropy", "accuracy", "evaluated_on", "num_samples", "seconds"}
    assert record["config"]["data"] == {**data, "max_s": None}
    count = LENGTH if not held_out else held_out if part == "held_out" else LENGTH - held_out
    which = {"": "clip", "held-out ": "last 300 samples of the clip", "training ": "first 4200 samples of the clip"}
    assert (record["num_samples"], record["evaluated_on"]) == (count, which[words])
    model = load_checkpoint(str(tmp_path / "tiny.safetensors")).model
    seen = {**data, "held_out_s": 0.0, "max_s": (LENGTH - held_out) / RATE} if part == "train" else data
    task = AudioTask(AudioConfig(model=WAVENET, data=seen, chunk_size=500), model)
    told = task.evaluate(model, jax.random.key(0))
    assert told == pytest.approx({key: record[key]["mean"] for key in told}, rel=1e-5)
    assert record["cross_entropy"]["standard_error"] is None  # a clip's samples depend on each other
    assert capsys.readouterr().out.endswith(f" accuracy ({count} {words}samples of clip.wav)\n")


def test_shipped_model_of_sound_is_as_good_as_its_registry_says(tmp_path: Path) -> None:
    assert evaluate(tmp_path, checkpoint="wavenet_speech_gated", data={"max_s": 0.5}, max_images=None) == 0
    record = results(tmp_path)
    assert record["num_samples"] == 8000
    assert record["accuracy"]["mean"] == pytest.approx(record["config"]["weights"]["accuracy"], abs=0.0021)


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        (STREAMING, {}, "model streaming has no metrics: it is not one that is trained here"),
        (
            ARCHITECTURE,
            {"data": {"wav": None}},
            "data for model made: unknown config key 'wav'; valid: download, name, labels, root",
        ),
        (ARCHITECTURE, {"data": {"nam": "mnist5k"}}, "unknown config key 'nam'; did you mean 'name'?"),
        (
            WAVENET,
            {"data": {"name": "mnist5k"}},
            "data for model wavenet: name should be 'clip' or 'text', not 'mnist5k'",
        ),
        (WAVENET, {}, "max_images does not go with model wavenet; data.max_s takes the beginning of a clip"),
        (WAVENET, {"max_images": None}, "data.sample_rate is 16000, the model's sample_rate 1000"),
        (
            WAVENET,
            {"max_images": None, "data": {"sample_rate": RATE, "held_out_s": 3.0}},
            "data.held_out_s 3 is all of the clip of 3000 samples, or more",
        ),
        (
            {**WAVENET, "global_classes": 2, "global_size": 2},
            {"max_images": None, "data": {"sample_rate": RATE}},
            "model wavenet cannot be evaluated on a clip alone: ",
        ),
        ({**DENSENET, "num_classes": 9}, {"max_images": None}, "num_classes should be at least 10 for the labels of "),
        ({**DENSENET, "image_shape": [32, 32, 1]}, {}, "model densenet reads images of shape [32, 32, 1], the dataset"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    assert evaluate(tmp_path, model, **changes) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()
