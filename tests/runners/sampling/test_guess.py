"""The key ``guess`` of samplers: the same samples, and steps with and without it side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runners.cli.main import main
from runners.config.schema import check_config
from runners.experiment import RunContext
from runners.report.console import TextConsole
from runners.sampling.config import WaveNetSamplerConfig
from runners.sampling.runner import WaveNetSamplerRunner
from solvers import GuessingSystem, NGram
from tests.kit.mistakes import SAMPLING
from tests.kit.results import read_results

SOUND: dict[str, Any] = {
    "model": {"name": "wavenet", "dilations": [2, 1], "num_hidden": 4, "num_classes": 3, "sample_rate": 1000},
    **{"batch_size": 2, "num_samples": 12, "head": {"name": "argmax"}, "repeats": 1, "trace": False, "seed": 1},
    "solvers": ["cached_sequential", "jacobi"],
}


def rows(folder: Path, config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a run by solver, all converged to the same sample."""
    (folder / "c.yml").write_text(yaml.safe_dump({"runner": "SamplerRunner", **config}))
    assert main(["--config", str(folder / "c.yml"), "--out", str(folder / "out")]) == 0
    found = read_results(folder / "out")
    assert all(row["status"] == "converged" and row["max_abs_error"] < 1e-5 for row in found["rows"])
    return {row["solver"]: {**row, "config": found["config"]["guess"]} for row in found["rows"]}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The samples of a run without guesses, and its rows."""
    folder = tmp_path_factory.mktemp("plain")
    found = rows(folder, SAMPLING)
    assert "num_steps_without_guess" not in found["jacobi"]
    return folder / "out" / "samples.npz", found


def test_a_neighbours_samples_are_a_warm_start(plain: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples, without = plain
    found = rows(tmp_path, {**SAMPLING, "guess": str(samples)})
    assert found["jacobi"]["config"] == {"name": "default", "n": None, "file": str(samples)}
    assert found["jacobi"]["num_steps"] == 1
    assert found["jacobi"]["num_steps_without_guess"] == without["jacobi"]["num_steps"] > 1
    assert found["sequential"]["num_steps_without_guess"] is None
    assert "unguessed" in capsys.readouterr().out
    with np.load(samples) as old, np.load(tmp_path / "out" / "samples.npz") as new:
        np.testing.assert_array_equal(old["samples"], new["samples"])


def test_guesses_on_the_way_leave_the_samples_and_the_baselines(plain: Any, tmp_path: Path) -> None:
    found = rows(tmp_path, {**SAMPLING, "guess": "noise_free"})
    # Numbers with noise are never guessed bit for bit: every step gains one, and costs a sweep more.
    assert found["jacobi"]["num_steps"] == 37
    assert found["jacobi"]["sweep_equivalents"] == 74
    assert found["jacobi"]["num_steps_without_guess"] == plain[1]["jacobi"]["num_steps"]
    assert found["sequential"]["sweep_equivalents"] == plain[1]["sequential"]["sweep_equivalents"]


def test_sound_is_guessed_by_the_same_key(tmp_path: Path) -> None:
    """Class ids of another run, and what followed them; how they are solved is the solvers' business."""
    np.savez(tmp_path / "s.npz", samples=np.arange(24).reshape(2, 12) % 3)
    ahead, begun = (
        WaveNetSamplerRunner(
            check_config(WaveNetSamplerConfig, {**SOUND, "guess": guess}, "c.yml"),
            RunContext("WaveNetSamplerRunner", "c", tmp_path, TextConsole(quiet=True)),
        ).system
        for guess in ({"name": "n_gram", "n": 2}, str(tmp_path / "s.npz"))
    )
    assert ahead.guesses == NGram(2)
    assert not isinstance(begun, GuessingSystem)
    np.testing.assert_array_equal(begun.initial_guess().T, np.arange(24).reshape(2, 12) % 3)
