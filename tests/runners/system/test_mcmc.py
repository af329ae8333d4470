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
from runners.system import mcmc
from runners.system.figures import chain_figure, posterior_figure
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
    for name in ("chain.png", "posterior.png"):
        assert (out / name).stat().st_size > 1000


def test_what_does_not_move_has_no_diagnostics_and_is_drawn_all_the_same() -> None:
    still = np.ones((2, 9, 1), np.float32)
    (parameter,) = mcmc._parameters(still)
    assert np.isnan(parameter["r_hat"])
    record = {"accepted": 0.0, "largest_r_hat": np.nan, "least_bulk_ess": 18.0, "flips": {"a": 0, "b": 2}}
    said = list(mcmc._sentences({**record, "error_reference": "a"}))
    assert said[1].startswith("r-hat is not a number: a chain does not move")
    assert said[2:] == ["b: 2 proposals were accepted or refused otherwise than by a."]
    assert len(posterior_figure(still, "still").axes) == 2


def test_a_chain_is_dark_where_it_is_not_known_yet() -> None:
    error = np.asarray([[0.5, np.nan, np.inf], [0.0, 1e-9, 2.0], [0.0, 0.0, 0.0]])
    panel = chain_figure({"newton": {"num_steps": np.asarray([0, 1, 3]), "error": error}}, "a chain").axes[0]
    (mesh,) = panel.collections
    shown = np.asarray(mesh.get_array()).reshape(3, 3)
    np.testing.assert_allclose(shown, [[0.5, 10, 10], [1e-6, 1e-6, 2], [1e-6, 1e-6, 1e-6]])


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
