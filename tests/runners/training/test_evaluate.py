"""Bits/dim of a checkpoint on a dataset, from the command line to results.json."""

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
from models import MODELS, model_config
from models.weights.native import save_checkpoint
from runners.cli.main import main
from runners.training.held_out import bits_by_image, held_out_bits_per_dim

ARCHITECTURE = {"name": "made", "num_inputs": 784, "hidden_sizes": [8]}
KEYS = {"schema", "name", "runner", "config", "seed", "device", "versions", "git_commit"}


def tiny() -> Any:
    return MODELS["made"](model_config(ARCHITECTURE), rngs=nnx.Rngs(0))


def evaluate(folder: Path, **changes: Any) -> int:
    save_checkpoint(folder / "tiny.safetensors", "made", tiny(), {"dataset": "none"})
    config = {"checkpoint": str(folder / "tiny.safetensors"), "batch_size": 30, "max_images": 70, **changes}
    (folder / "c.yml").write_text(yaml.safe_dump(config))
    return main(["--runner", "EvaluateRunner", "--config", str(folder / "c.yml"), "--out", str(folder / "out")])


@pytest.mark.parametrize("part", ["held_out", "train"])
def test_results_are_the_mean_and_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str) -> None:
    assert evaluate(tmp_path, part=part, draws=2, seed=5) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    assert set(record) == KEYS | {"bits_per_dim", "num_images", "seconds"}
    assert (record["schema"], record["name"], record["runner"], record["seed"]) == (1, "c", "EvaluateRunner", 5)
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
    mean = float(held_out_bits_per_dim(tiny(), jnp.asarray(images), key, draws=2, batch_size=30))
    assert record["bits_per_dim"]["mean"] == pytest.approx(mean, abs=1e-5)
    bits = np.zeros(70)
    for rows, values in bits_by_image(tiny(), images, key, draws=2, batch_size=30):
        bits[rows] += values / 2
    assert record["bits_per_dim"]["standard_error"] == pytest.approx(np.std(bits, ddof=1) / np.sqrt(70))
    said = capsys.readouterr().out
    assert f": {record['bits_per_dim']['mean']:.4f} +- " in said
    assert f"70 {'held-out' if part == 'held_out' else 'training'} images of mnist5k" in said


def test_shipped_checkpoint_is_as_good_as_its_registry_says(tmp_path: Path) -> None:
    assert evaluate(tmp_path, checkpoint="made_mnist", batch_size=100, max_images=None) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    told = record["config"]["weights"]["bits_per_dim"]
    assert record["num_images"] == 500
    assert record["bits_per_dim"]["mean"] == pytest.approx(told, abs=0.005)
    assert 0.005 < record["bits_per_dim"]["standard_error"] < 0.05


def test_one_image_has_no_standard_error(tmp_path: Path) -> None:
    assert evaluate(tmp_path, max_images=1) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["bits_per_dim"]["standard_error"] is None
    assert record["num_images"] == 1


def test_interrupt_leaves_old_results_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text("old")

    def pressed(*_: Any, **__: Any) -> Any:
        yield np.arange(30), np.ones(30)
        raise KeyboardInterrupt

    monkeypatch.setattr("runners.training.evaluate.bits_by_image", pressed)
    assert evaluate(tmp_path) == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]
    assert (tmp_path / "out" / "results.json").read_text() == "old"


def test_every_image_counts_once_in_each_draw() -> None:
    class Brightness(nnx.Module):
        def bits_per_dim(self, images: jax.Array, key: jax.Array) -> jax.Array:
            return jnp.mean(images.astype(jnp.float32), axis=(1, 2, 3))

    images = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    for batch_size in (1, 3, 7, 100):
        total = np.zeros(7)
        for rows, bits in bits_by_image(Brightness(), images, jax.random.key(0), draws=2, batch_size=batch_size):
            total[rows] += bits
        np.testing.assert_array_equal(total, 2.0 * np.arange(7))
