"""A model of sound from a user's own file: sampled from, trained and evaluated like WaveNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from data.audio.clip import write_wave
from runners.cli.main import main
from runners.config.schema import check_config
from runners.experiment import RunContext
from runners.report.console import TextConsole
from runners.sampling.config import WaveNetSamplerConfig
from runners.sampling.runner import WaveNetSamplerRunner
from runners.training.config import AudioConfig
from runners.training.evaluation import task_for
from runners.training.runner import first_model
from runners.training.tasks.audio import AudioTask

SOURCE = """
from models.wavenet.model import WaveNet
class Backwards(WaveNet):
    def from_sound(self, sound):
        return super().from_sound(-sound)
    def to_sound(self, ids):
        return -super().to_sound(ids)
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
    sampling = {"model": {**model, **SHAPE}, "num_samples": 8, "solvers": ["jacobi"]}
    sampling |= {"prompt": {"wav": str(tmp_path / "hum.wav"), "duration_s": 0.02}}
    context = RunContext("WaveNetSamplerRunner", "c", tmp_path, TextConsole(quiet=True))
    runner = WaveNetSamplerRunner(check_config(WaveNetSamplerConfig, sampling, "c.yml"), context)
    assert type(runner.subject.checkpoint.model) is type(mine)
    assert (runner.system.num_equations, runner.system.network.origin) == (8, 20)
    assert WaveNetSamplerRunner.to_check(runner.config, context)[0] == "Backwards"


def test_what_is_no_model_of_sound_is_refused_by_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("from models.made.model import MADE\nclass Mine(MADE): ...\n")
    config = {"model": {"path": "mine.py", "name": "Mine", "num_inputs": 4, "hidden_sizes": [2]}}
    config |= {"runner": "WaveNetSamplerRunner", "num_samples": 8, "solvers": ["jacobi"]}
    (tmp_path / "c.yml").write_text(yaml.safe_dump(config))
    assert main(["--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: model Mine makes no sound: it lacks from_sound, greedy, ")
