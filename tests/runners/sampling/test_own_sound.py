"""A model of sound from a user's own file: sampled from, trained and evaluated like WaveNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from data.audio.clip import write_wave
from models.weights.native import save_checkpoint
from runners.cli.main import main
from runners.config.schema import check_config
from runners.training.config import AudioConfig
from runners.training.evaluation import task_for
from runners.training.runner import first_model
from runners.training.tasks.audio import AudioTask
from tests.kit.results import read_results

SOURCE = """
from models.wavenet.model import WaveNet
class Backwards(WaveNet):
    def from_sound(self, sound):
        return super().from_sound(-sound)
    def to_sound(self, ids):
        return -super().to_sound(ids)
class Silent(WaveNet):
    to_sound = property()
"""
SHAPE = {"dilations": [2, 1], "num_hidden": 4, "num_classes": 5, "sample_rate": 1000}


@pytest.fixture
def model(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "mine.py").write_text(SOURCE)
    return {"path": str(tmp_path / "mine.py"), "name": "Backwards"}


def test_it_is_trained_evaluated_and_sampled_from(tmp_path: Path, model: dict[str, Any]) -> None:
    write_wave(tmp_path / "hum.wav", np.sin(0.3 * np.arange(100)), 1000)
    training = {"model": {**model, **SHAPE}, "data": {"wav": str(tmp_path / "hum.wav"), "sample_rate": 1000}}
    config = check_config(AudioConfig, {**training, "chunk_size": 20}, "c.yml")
    mine = first_model(config)
    assert len(AudioTask(config, mine).train.ids) == 5
    assert task_for("Backwards", mine) is AudioTask
    save_checkpoint(tmp_path / "w.safetensors", "Backwards", mine, {})
    sampling = {"runner": "WaveNetSamplerRunner", "model": model, "checkpoint": str(tmp_path / "w.safetensors")}
    sampling |= {"num_samples": 8, "solvers": ["cached_sequential"], "repeats": 1, "trace": False}
    sampling |= {"prompt": {"wav": str(tmp_path / "hum.wav"), "duration_s": 0.02}}
    (tmp_path / "c.yml").write_text(yaml.safe_dump(sampling))
    assert main(["--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]) == 0
    assert read_results(tmp_path / "out")["config"]["model"]["path"] == model["path"]
    with np.load(tmp_path / "out" / "samples.npz") as arrays:
        assert arrays["samples"].shape == (1, 8)
        assert arrays["prompt"].shape == (1, 20)


def test_what_is_no_model_of_sound_is_refused_by_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("from models.made.model import MADE\nclass Mine(MADE): ...\n")
    config = {"model": {"path": "mine.py", "name": "Mine", "num_inputs": 4, "hidden_sizes": [2]}}
    config |= {"runner": "WaveNetSamplerRunner", "num_samples": 8, "solvers": ["jacobi"]}
    (tmp_path / "c.yml").write_text(yaml.safe_dump(config))
    assert main(["--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: model Mine makes no sound: it lacks from_sound, greedy, ")
