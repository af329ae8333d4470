"""Chains from the command line: samples, decisions and diagnostics, in parallel as one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from arviz_stats.base import array_stats

from runners.cli.main import main
from tests.kit.mistakes import Row, check_mistake

LINE = ("--runner", "MCMCRunner", "--config", "{here}/c.yml", "--out", "{here}/out")
SYSTEM: dict[str, Any] = {
    "name": "mcmc",
    "target": {"name": "eight_schools"},
    "kernel": {"name": "hmc", "step_size": 0.25},
    "num_steps": 60,
    "batch_size": 3,
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mcmc")
    config = {
        "system": SYSTEM,
        "solvers": ["cached_sequential", {"name": "newton", "jacobian": "system"}],
        "warmup": 10,
        "repeats": 1,
        "trace": False,
    }
    (folder / "c.yml").write_text(yaml.safe_dump(config))
    assert main([part.replace("{here}", str(folder)) for part in LINE]) == 0
    return folder / "out"


def test_diagnostics_are_those_of_the_samples(out: Path) -> None:
    results = json.loads((out / "results.json").read_text())
    assert results["kind"] == "mcmc"
    assert {row["status"] for row in results["rows"]} == {"converged"}
    assert results["flips"] == {"cached_sequential": 0, "newton": 0}
    with np.load(out / "samples.npz") as file:
        samples, accepted = file["samples"], file["accepted"]
    assert samples.shape == (3, 50, 10)
    assert accepted.shape == (3, 60, 1)
    assert results["accepted"] == pytest.approx(accepted.mean())
    parameters = results["parameters"]
    np.testing.assert_allclose([each["mean"] for each in parameters], samples.mean(axis=(0, 1)), rtol=1e-5)
    r_hat = array_stats.rhat(samples, chain_axis=0, draw_axis=1)
    np.testing.assert_allclose([each["r_hat"] for each in parameters], r_hat, rtol=1e-6)
    assert results["largest_r_hat"] == max(each["r_hat"] for each in parameters) > 1
    assert (out / "posterior.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"warmup": 58}, "warmup 58 leaves fewer than 4 of 60 samples"),
        ({"warmup": -1}, "c.yml: warmup should be at least 0, not -1"),
        (
            {"system": {"name": "pendulum"}},
            "MCMCRunner needs system: {name: mcmc, target: ..., kernel: ...}; see SystemRunner",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    changes: Any, sentence: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = {"system": SYSTEM, "solvers": ["cached_sequential"], "warmup": 0, **changes}
    check_mistake(Row(sentence, LINE, config), tmp_path, capfd)
