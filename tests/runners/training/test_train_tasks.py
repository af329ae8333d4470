"""Training classifiers and audio: what differs from training on the likelihood of images (tests/test_training.py)."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx
from PIL import Image
from rich.console import Console

from common.errors import UserError
from data import load_dataset
from data.audio.clip import read_wave, write_wave
from models import CLASSIFIERS, build
from models.wavenet.quantization import Linear
from models.weights import registry as checkpoints
from models.weights.load import load_checkpoint
from runners.cli import listing
from runners.cli.main import main
from runners.config.files import find_config, read_config
from runners.config.schema import check_config
from runners.training.config import AudioConfig, ClassifierConfig, JitterConfig
from runners.training.preview import best_epoch
from runners.training.store import Snapshot, StateStore
from runners.training.tasks.audio import AudioTask, jittered
from runners.training.tasks.classifier import ClassifierTask, confusions, errors_output
from runners.training.trainer import Trainer
from solvers.heads.categorical import Argmax, Gumbel
from solvers.trees.pytree import pytree

DENSENET = {
    "name": "densenet",
    "growth_rate": 4,
    "block_layers": [2],
    "num_init_features": 4,
    "num_classes": 10,
    "image_shape": [28, 28, 1],
    "stem": "small",
    "pixel_mean": [0.13],
    "pixel_std": [0.31],
}
CLASSIFIER = {
    "model": DENSENET,
    "max_train_images": 300,
    "max_held_out_images": 70,
    "batch_size": 20,
    "epochs": 7,
    "eval_every_epochs": 3,
    "sample_every_epochs": 5,
    "learning_rate": 0.02,
    "warmup_steps": 3,
    "ema_decay": 0.9,
    "max_shift": 1,
}
WAVENET = {"name": "wavenet", "dilations": [1, 2], "num_hidden": 4, "num_classes": 16, "sample_rate": 1000}
CONDITIONED = {"name": "wavenet", "dilations": [1, 2], "num_hidden": 2, "global_classes": 2, "global_size": 2}
NUM_CLASSES, CHANNELS, LENGTH, RATE = 8, 3, 50, 1000
MADE = {"name": "made", "num_inputs": 4}  # stands in configs for models that only these tests know


def run(folder: Path, runner: str, config: dict[str, Any]) -> int:
    """Train from the command line, with all files in ``folder``."""
    (folder / "tiny.yml").write_text(yaml.safe_dump({"state_dir": str(folder / "state"), **config}))
    return main(["--runner", runner, "--config", str(folder / "tiny.yml"), "--out", str(folder / "out")])


def results(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    return record


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of a classifier, shipped, with its progress kept."""
    folder = tmp_path_factory.mktemp("classified")
    (folder / "registry.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StateStore, "remove", StateStore.close)
        patch.setattr(checkpoints, "CHECKPOINTS", folder)
        assert run(folder, "TrainClassifierRunner", {**CLASSIFIER, "checkpoint_name": "tiny"}) == 0
    return folder


def test_classifier_learns_and_says_how_well(classified: Path) -> None:
    record = results(classified)
    history = record["history"]
    assert [(row["epoch"], row["step"]) for row in history] == [(3, 45), (6, 90), (7, 105)]
    keys = ("train_cross_entropy", "held_out_cross_entropy", "held_out_cross_entropy_ema")
    assert set(history[0]) == {*keys, "held_out_accuracy", "held_out_accuracy_ema", "epoch", "step", "seconds"}
    for key in keys:
        assert history[-1][key] < history[0][key] < 3
    assert record["held_out_accuracy"] == history[-1]["held_out_accuracy_ema"]
    assert record["held_out_accuracy"] == pytest.approx(1 - len(record["wrong"]) / record["num_held_out"])
    top = max(row["held_out_accuracy_ema"] for row in history)
    assert record["best_epoch"] == next(row["epoch"] for row in history if row["held_out_accuracy_ema"] == top)


def test_classifier_leaves_weights_with_their_statistics(classified: Path) -> None:
    """What is loaded answers as the network did that was trained."""
    record = results(classified)
    loaded = load_checkpoint(str(classified / "out" / "weights.safetensors"))
    held_out, labels = load_dataset("mnist5k").held_out[:70], load_dataset("mnist5k").held_out_labels[:70]
    scores = ClassifierTask.scores(loaded.model, (held_out, labels), jax.random.key(0), batch_size=33)
    predicted = np.concatenate([values["predicted"] for _, values in scores])
    wrong = [{"image": int(i), "label": int(labels[i]), "predicted": int(predicted[i])} for i in range(70)]
    assert record["wrong"] == [entry for entry in wrong if entry["label"] != entry["predicted"]]
    checkpoint_info = {key: record[f"held_out_{key}"] for key in ("accuracy", "cross_entropy")}
    told = {f"held_out_{key}": value for key, value in checkpoint_info.items()}
    assert loaded.info == {"dataset": "mnist5k", **told, "epochs": 7, "seed": 1234, "config": "tiny"}
    entry = json.loads((classified / "registry.json").read_text())["tiny"]
    assert entry.items() >= {**told, "model": "densenet", "epochs": 7}.items()
    assert "--runner TrainClassifierRunner --config tiny.yml" in entry["retrain"]


def test_classifier_shows_its_errors_now_and_then(classified: Path) -> None:
    """Every fifth epoch, or the next one that is evaluated."""
    files = {path.name for path in (classified / "out").iterdir()} - {"best.safetensors"}
    assert files == {"results.json", "training.png", "errors.png", "weights.safetensors"}
    shown = {path.name for path in (classified / "state" / "progress").iterdir()}
    assert shown == {"best.safetensors", "latest.safetensors", "errors_0006.png"}
    with Image.open(classified / "out" / "errors.png") as image:
        assert min(image.size) > 400


def test_errors_are_counted_by_class(tmp_path: Path) -> None:
    images = np.zeros((5, 4, 4, 3), np.uint8)
    labels, predicted = np.array([0, 1, 2, 1, 1]), np.array([0, 2, 2, 2, 0])
    assert confusions(labels, predicted, 3).tolist() == [[1, 0, 0], [1, 0, 2], [0, 0, 1]]
    errors = errors_output((images, labels), predicted, 3, "")
    assert [entry["image"] for entry in errors.record["wrong"]] == [1, 3, 4]
    right = errors_output((images, np.arange(5) % 3), np.arange(5) % 3, 3, "_7")
    assert right.record == {"num_held_out": 5, "wrong": []}
    for artifact in right.artifacts:
        artifact.write(tmp_path)
    assert (tmp_path / "errors_7.png").stat().st_size > 1000


class Logits(nnx.Module):
    """A classifier whose logits are its parameter, whatever the image."""

    image_shape = (28, 28, 1)
    num_classes = 10

    def __init__(self) -> None:
        self.logits = nnx.Param(jnp.asarray(np.linspace(-1, 2, 10, dtype=np.float32)))

    def from_images(self, images: jax.Array) -> jax.Array:
        return images

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.broadcast_to(self.logits[...], (len(x), 10))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_label_smoothing_spreads_a_share_over_all_classes(smoothing: float) -> None:
    config = ClassifierConfig(model=DENSENET, label_smoothing=smoothing, max_train_images=100)
    task = ClassifierTask(config, Logits())
    labels = np.array([0, 9, 4])
    batch = (jnp.zeros((3, 28, 28, 1), jnp.uint8), jnp.asarray(labels))
    losses, _ = jax.jit(lambda model: task.loss(model, (), batch, jax.random.key(0)))(Logits())
    logits = np.linspace(-1, 2, 10)
    target = (1 - smoothing) * np.eye(10)[labels] + smoothing / 10
    np.testing.assert_allclose(losses, -target @ (logits - np.log(np.exp(logits).sum())), rtol=1e-5)


def test_best_epoch_is_that_of_the_task() -> None:
    history = [
        {"epoch": e, "held_out_accuracy_ema": a, "cross_entropy_ema": a} for e, a in enumerate([0.5, 0.9, 0.9, 0.7])
    ]
    assert best_epoch(history, ClassifierTask)["epoch"] == 1
    audio = dataclasses.make_dataclass("Audio", ["selection_metric", "evaluated"])
    clip = dataclasses.replace(ClassifierTask.evaluated, prefix="")
    assert best_epoch(history, audio(AudioTask.selection_metric, clip))["epoch"] == 0


@pytree
@dataclass(frozen=True)
class LeakyNetwork:
    """Logits from a leaky sum over all that was read, and from the time."""

    table: jax.Array  # (K, C)
    readout: jax.Array  # (C, K)

    def init_cache(self, batch_size: int, dtype: Any) -> Any:
        return jnp.zeros(batch_size, dtype), jnp.zeros((batch_size, CHANNELS))

    def conditionals(self, x: jax.Array, cache: Any, start: Any, size: int, keep: Any) -> Any:
        last, state = cache
        read = jnp.concatenate([last[None], x[:-1]])

        def step(state: jax.Array, one: Any) -> Any:
            state = 0.9 * state + self.table[one[0]]
            return state, (state * jnp.cos(one[1])) @ self.readout

        state, logits = jax.lax.scan(step, state, (read, start + jnp.arange(size)))
        return logits, (last, state)

    def record(self, values: jax.Array, cache: Any, start: Any, keep: Any) -> Any:
        return values[-1], cache[1]


class Leaky(nnx.Module):
    """A model of sound whose context never ends."""

    sample_rate = RATE
    head = Gumbel(NUM_CLASSES)
    greedy = Argmax(NUM_CLASSES)
    quantizer = Linear(NUM_CLASSES)
    draw_noise = from_sound = to_sound = staticmethod(pytest.fail)  # neither training nor evaluating asks for them

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.table = nnx.Param(jnp.asarray(random.normal(0, 0.5, (NUM_CLASSES, CHANNELS)).astype(np.float32)))
        self.readout = nnx.Param(jnp.asarray(random.normal(0, 0.5, (CHANNELS, NUM_CLASSES)).astype(np.float32)))

    def fold(self) -> LeakyNetwork:
        return LeakyNetwork(self.table[...], self.readout[...])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    write_wave(path, np.sin(0.3 * np.arange(LENGTH)), RATE)
    return str(path)


def audio_config(clip: str, **changes: Any) -> AudioConfig:
    data = {"wav": clip, "sample_rate": RATE, **changes.pop("data", {})}
    options = {"model": MADE, "chunk_size": 16, "epochs": 4, "warmup_steps": 2, **changes}
    return AudioConfig(data=data, **options)


def log_probs(task: AudioTask) -> np.ndarray:
    """Of the whole clip, in one pass."""
    model = Leaky()
    ids = model.quantizer.encode(task.clip.samples)[:, None]

    def log_probs(ids: jax.Array) -> jax.Array:
        network = model.fold()
        logits, _ = network.conditionals(ids, network.init_cache(1, ids.dtype), 0, LENGTH, LENGTH)
        return model.head.log_prob(logits, ids)[:, 0]

    return np.asarray(jax.jit(log_probs)(ids))


@pytest.mark.parametrize("size", [16, 25, LENGTH])
def test_chunks_see_all_that_came_before(clip: str, size: int) -> None:
    """The losses of an epoch are those of one pass over the clip, the last chunk filled up or not."""
    task = AudioTask(audio_config(clip, chunk_size=size), Leaky())
    loss = jax.jit(lambda carry, batch: task.loss(Leaky(), carry, batch, jax.random.key(0)))
    carry, expected = task.begin_epoch(Leaky()), -log_probs(task)
    order = np.asarray(task.order(jax.random.key(0)))
    assert order.tolist() == list(range(-(-LENGTH // size)))
    for i in order:
        batch = jax.tree.map(lambda a: a[i : i + 1], task.train)  # noqa: B023
        losses, carry = loss(carry, batch)
        np.testing.assert_allclose(losses, [expected[i * size : (i + 1) * size].mean()], rtol=1e-5)


@pytest.mark.parametrize("held_out", [0, 13])
def test_evaluation_is_of_the_part_that_is_said(clip: str, held_out: int) -> None:
    """Without a held-out end of the whole clip; with one of that end alone, behind the rest as its context."""
    task = AudioTask(audio_config(clip, data={"held_out_s": held_out / RATE}), Leaky())
    assert task.num_examples == (4 if held_out == 0 else 3)
    assert int(task.train.counted.sum()) == LENGTH - held_out
    values = task.evaluate(Leaky(), jax.random.key(0))
    assert values["cross_entropy"] == pytest.approx(-log_probs(task)[LENGTH - held_out if held_out else 0 :].mean())
    assert 0 <= values["accuracy"] <= 1
    assert values["accuracy"] * (held_out or LENGTH) == pytest.approx(round(values["accuracy"] * (held_out or LENGTH)))
    on = "training clip" if held_out == 0 else "last 13 samples of the clip"
    assert task.checkpoint_info(values) == {**values, "evaluated_on": on}


def test_jitter_moves_some_of_what_is_read_and_no_target(clip: str) -> None:
    x = jnp.tile(jnp.array([[0], [4], [7]], jnp.int32), (4000, 1))
    moved = np.asarray(jittered(x, jax.random.key(0), JitterConfig(probability=0.5, classes=2), NUM_CLASSES))
    by = moved - np.asarray(x)
    assert set(by[1::3, 0].tolist()) == {-2, -1, 0, 1, 2}
    assert np.mean(by[1::3] != 0) == pytest.approx(0.5 * 4 / 5, abs=0.03)
    assert (moved.min(), moved.max()) == (0, 7)

    def first_loss(chunk_size: int, probability: float) -> float:
        config = audio_config(clip, chunk_size=chunk_size, input_jitter={"probability": probability, "classes": 3})
        task = AudioTask(config, Leaky())
        batch = jax.tree.map(lambda a: a[:1], task.train)
        loss = jax.jit(lambda batch: task.loss(Leaky(), task.begin_epoch(Leaky()), batch, jax.random.key(3)))
        return float(loss(batch)[0][0])

    task = AudioTask(audio_config(clip), Leaky())
    assert first_loss(1, 1.0) == pytest.approx(-log_probs(task)[0])  # the first sample is a target, and not read before
    assert first_loss(16, 1.0) != pytest.approx(-log_probs(task)[:16].mean(), rel=1e-3)
    assert first_loss(16, 1e-9) == pytest.approx(-log_probs(task)[:16].mean())


def trained(trainer: Trainer, folder: Path) -> Any:
    """The state after an epoch and two steps more, saved and restored after the epoch's second step."""
    config = trainer.config.identity()
    state = trainer.advance(trainer.start(), 2)
    store = StateStore(folder, config, Console(quiet=True))
    store.save(Snapshot(state, [], 0.0))
    store.close()
    store = StateStore(folder, config, Console(quiet=True))
    snapshot = store.restore(trainer.start())
    store.close()
    assert snapshot is not None
    state = trainer.advance(snapshot.state, trainer.steps_per_epoch)
    return trainer.advance(state, trainer.steps_per_epoch + 2)


@pytest.mark.parametrize("kind", ["classifier", "audio"])
def test_resumes_amid_an_epoch_bit_for_bit(kind: str, clip: str, tmp_path: Path) -> None:
    """With what is carried from step to step: running statistics, or the cache."""
    if kind == "classifier":
        config: Any = ClassifierConfig(**CLASSIFIER)
        model = build(config.model, config.seed)
        task: Any = ClassifierTask(config, model)
    else:
        config = audio_config(clip)
        model = Leaky()
        task = AudioTask(config, model)
    trainer = Trainer(config, model, task)
    resumed = trained(trainer, tmp_path / "state")
    straight = trainer.advance(trainer.start(), trainer.steps_per_epoch)
    straight = trainer.advance(straight, trainer.steps_per_epoch + 2)
    leaves, others = jax.tree.leaves(straight), jax.tree.leaves(resumed)
    assert all(np.array_equal(a, b) for a, b in zip(leaves, others, strict=True))
    moved = straight.statistics if kind == "classifier" else straight.carry
    first = trainer.start().statistics if kind == "classifier" else trainer.start().carry
    assert jax.tree.leaves(moved)
    assert not any(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(first), strict=True))


def test_every_epoch_begins_with_an_empty_cache(clip: str) -> None:
    """Chunks of half a clip: after three steps the cache is that of the first chunk alone."""
    config = audio_config(clip, chunk_size=25, learning_rate=1e-9, epochs=3)
    trainer = Trainer(config, model := Leaky(), AudioTask(config, model))
    first = trainer.advance(trainer.start(), 1)
    second = trainer.advance(first, 2)
    third = trainer.advance(second, 3)
    np.testing.assert_allclose(third.carry[1], first.carry[1], rtol=1e-5)
    assert not np.allclose(second.carry[1], first.carry[1])


def test_audio_from_config_to_registry_and_listing(
    clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "registry.json").write_text("{}")
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    config = {
        **{"model": WAVENET, "data": {"wav": clip, "sample_rate": RATE}, "chunk_size": 16, "epochs": 12},
        **{"learning_rate": 0.02, "eval_every_epochs": 5, "warmup_steps": 2, "ema_decay": 0.8, "show_s": 0.04},
        **{"sample_every_epochs": 0, "checkpoint_name": "tiny", "weights_dtype": "float16"},
        "input_jitter": {"probability": 0.1, "classes": 1},
    }
    assert run(tmp_path, "TrainWaveNetRunner", config) == 0
    said = capsys.readouterr().err
    assert "epoch 5/12: cross-entropy: train " in said
    assert ", accuracy " in said
    record = results(tmp_path)
    history = record["history"]
    assert [(row["epoch"], row["step"]) for row in history] == [(5, 20), (10, 40), (12, 48)]
    assert history[-1]["cross_entropy_ema"] < history[0]["cross_entropy_ema"] < np.log(16)
    assert record["evaluated_on"] == "training clip"
    assert record["cross_entropy"] == pytest.approx(history[-1]["cross_entropy_ema"], rel=1e-2)
    for name in ("generated", "sampled"):
        assert record[name]["num_samples"] == 40
        assert -1 <= record[name]["correlation_with_clip"] <= 1
        wave = read_wave(tmp_path / "out" / f"{name}.wav")
        assert (len(wave.samples), wave.sample_rate) == (40, RATE)
    files = {"results.json", "weights.safetensors", "training.png", "generated.png", "generated.wav", "sampled.wav"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files
    entry = json.loads((tmp_path / "registry.json").read_text())["tiny"]
    told = {key: record[key] for key in ("cross_entropy", "accuracy", "evaluated_on")}
    assert entry.items() >= {**told, "model": "wavenet", "epochs": 12}.items()
    monkeypatch.setattr(listing, "_CHECKPOINTS", tmp_path / "registry.json")
    assert main(["--list"]) == 0
    assert f"wavenet on clip.wav, {record['cross_entropy']:.3f} nats a sample" in capsys.readouterr().out


def test_text_is_trained_and_evaluated_byte_by_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("".join(f"abä {i}\n\n" for i in range(20)))
    model = {"name": "wavenet", "dilations": [1, 2], "num_hidden": 4, "input": "embedded"}
    data = {"name": "text", "file": str(tmp_path / "t.txt"), "held_out": 0.4}
    config = {"model": model, "data": data, "chunk_size": 16, "epochs": 1, "learning_rate": 0.05, "ema_decay": 0.0}
    config |= {"warmup_steps": 1, "sample_every_epochs": 0}
    assert run(tmp_path, "TrainWaveNetRunner", config) == 0
    record = results(tmp_path)
    assert record["config"]["data"] == data
    count = int(re.fullmatch(r"last (\d+) bytes of the text", record["evaluated_on"])[1])  # type: ignore[index]
    for name in ("generated", "sampled"):
        prompt = record[name]["prompt_bytes"]
        assert record[name]["num_bytes"] == prompt + 400
        assert (tmp_path / "out" / f"{name}.txt").read_text(encoding="utf-8").startswith("ab")
    weights = str(tmp_path / "out" / "weights.safetensors")
    (tmp_path / "e.yml").write_text(yaml.safe_dump({"checkpoint": weights, "data": data}))
    line = ["--runner", "EvaluateRunner", "--config", str(tmp_path / "e.yml"), "--out", str(tmp_path / "scores")]
    assert main(line) == 0
    scores = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert scores["num_bytes"] == count
    assert scores["cross_entropy"]["mean"] == pytest.approx(record["cross_entropy"], rel=1e-3)
    assert f"({count} held-out bytes of t.txt)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("runner", "config", "words"),
    [
        ("TrainClassifierRunner", {"model": MADE}, "valid: densenet"),
        ("TrainRunner", {"model": DENSENET}, "valid: made, pixelcnnpp"),
        ("TrainClassifierRunner", {"model": {**DENSENET, "num_classes": 9}}, "num_classes should be at least 10"),
        ("TrainClassifierRunner", {"model": {**DENSENET, "image_shape": [32, 32, 1]}}, "reads images of shape"),
        ("TrainClassifierRunner", {"model": DENSENET, "label_smoothing": 1.0}, "label_smoothing should be less than 1"),
        ("TrainRunner", {"model": WAVENET}, "model wavenet makes no images; valid: made, pixelcnnpp"),
        ("TrainWaveNetRunner", {"model": MADE, "data": {}}, "model made makes no sound; valid: wavenet"),
        ("TrainWaveNetRunner", {"model": CONDITIONED, "data": {}}, "cannot be trained on a clip alone: "),
        ("TrainWaveNetRunner", {"model": MADE, "data": {"wave": "x.wav"}}, "did you mean 'wav'"),
        ("TrainWaveNetRunner", {"model": MADE, "data": {"name": "text", "file": "x"}}, "model made makes no sound; "),
        (
            "TrainWaveNetRunner",
            {"model": WAVENET, "data": {"name": "text", "file": "x"}},
            "model wavenet has num_classes: 16; the bytes of a text need 256",
        ),
        ("TrainWaveNetRunner", {"model": WAVENET, "data": {"name": "text"}}, "data: file is missing: a text in UTF-8"),
        ("TrainWaveNetRunner", {"model": WAVENET, "data": {"name": "txt"}}, "'clip' or 'text', not 'txt'"),
        (
            "TrainWaveNetRunner",
            {"model": WAVENET, "data": {"name": "text", "file": "x", "held_out_s": 1}},
            "held_out_s does not go with name: text",
        ),
        ("TrainWaveNetRunner", {"model": WAVENET, "data": {"file": "x"}}, "file does not go with name: clip"),
    ],
)
def test_mistakes_in_config_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runner: str, config: dict[str, Any], words: str
) -> None:
    assert run(tmp_path, runner, config) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chunk_size": 51}, "chunk_size 51 is more than the 50 samples"),
        ({"data": {"held_out_s": 0.05}}, "more than the 0 samples to train on"),
        ({"data": {"held_out_s": 1.0}}, "of a clip of 50"),
        ({"data": {"wav": "nowhere.wav"}}, "nowhere.wav"),
        ({"data": {"sample_rate": 8000}}, "data.sample_rate is 8000, the model's sample_rate 1000"),
    ],
)
def test_clips_that_do_not_do_are_refused(clip: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        AudioTask(audio_config(clip, **changes), Leaky())


def is_of(name: str, kinds: Mapping[str, Any]) -> bool:
    return checkpoints.registry()[name]["model"] in kinds


def shipped(key: str) -> list[str]:
    """The names of the shipped checkpoints that are told to be so and so good."""
    return [name for name, entry in checkpoints.registry().items() if key in entry]


@pytest.mark.parametrize("name", [name for name in shipped("held_out_accuracy") if is_of(name, CLASSIFIERS)])
def test_shipped_classifier_is_as_good_as_the_registry_says(name: str) -> None:
    entry, loaded = checkpoints.registry()[name], load_checkpoint(name)
    dataset = load_dataset(entry["dataset"])
    held_out = dataset.held_out, dataset.held_out_labels
    scores = ClassifierTask.scores(loaded.model, held_out, jax.random.key(0), batch_size=50)
    accuracy = np.mean(np.concatenate([values["accuracy"] for _, values in scores]))
    assert accuracy == pytest.approx(entry["held_out_accuracy"], abs=0.0021)
    assert accuracy >= 0.98


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        pytest.param(name, seconds, marks=marks)
        for name in shipped("cross_entropy")
        for seconds, marks in ((0.5, ()), (None, pytest.mark.slow))
    ],
)
def test_shipped_model_of_sound_is_as_good_as_the_registry_says(name: str, seconds: float | None) -> None:
    """On the clip's first half second, or on all of it."""
    entry, loaded = checkpoints.registry()[name], load_checkpoint(name)
    retrain = re.search(r"--config (\S+)", entry["retrain"])
    assert retrain
    config = check_config(AudioConfig, read_config(find_config(retrain[1])), name)
    clip = config.data.model_copy(update={"max_s": seconds})
    values = AudioTask(config.model_copy(update={"data": clip}), loaded.model).evaluate(loaded.model, jax.random.key(0))
    if seconds is None:
        assert values["cross_entropy"] == pytest.approx(entry["cross_entropy"], rel=1e-2, abs=1e-4)
    assert values["accuracy"] == pytest.approx(entry["accuracy"], abs=1e-3 if seconds is None else 0.2)
