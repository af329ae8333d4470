"""A survey of systems of order one from the command line: what wins where, and its picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from runners.cli.main import main
from runners.survey.figures import survey_figure
from tests.kit.mistakes import Row, check_mistake

LINE = ("--runner", "SurveyRunner", "--config", "{here}/c.yml", "--out", "{here}/out")
SYSTEMS: dict[str, Any] = {
    "group": {"name": "permutations", "num_steps": 20, "features": 3},
    "stable": {"name": "contraction", "num_steps": 20, "features": 2, "step_size": 0.5},
}


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("survey")
    solvers = ["cached_sequential", "newton", "parallel_scan", {"name": "jacobi", "max_steps": 2}]
    config = {"systems": SYSTEMS, "solvers": solvers, "repeats": 1, "trace": False}
    (folder / "c.yml").write_text(yaml.safe_dump(config))
    assert main([part.replace("{here}", str(folder)) for part in LINE]) == 0
    assert (folder / "out" / "when_it_pays.png").stat().st_size > 1000
    found: list[dict[str, Any]] = json.loads((folder / "out" / "results.json").read_text())["systems"]
    return found


def test_a_survey_says_what_wins_where(systems: list[dict[str, Any]]) -> None:
    group, stable = systems
    assert [group["label"], stable["label"]] == list(SYSTEMS)
    assert group["fewest_steps"] == {"label": "parallel_scan", "num_steps": 1}
    assert stable["fewest_steps"]["label"] == "newton"
    assert [skipped["label"] for skipped in stable["skipped"]] == ["parallel_scan"]
    assert group["lyapunov"] == pytest.approx(0, abs=1e-5)
    assert stable["lyapunov"] < -0.05
    scan = next(row["run_s"]["median"] for row in group["rows"] if row["solver"] == "cached_sequential")
    least = group["least_time"]
    assert least["time_over_scan"] == pytest.approx(least["median_s"] / scan)


def test_the_picture_is_in_the_order_of_exponents(systems: list[dict[str, Any]]) -> None:
    steps, times = survey_figure(systems, "a survey").axes
    assert [text.get_text().split("  ")[0] for text in times.get_xticklabels()] == ["stable", "group"]
    drawn = {line.get_label(): line for line in steps.lines}
    assert list(drawn["newton"].get_ydata()) == [
        next(row["num_steps"] for row in each["rows"] if row["label"] == "newton") / 20 for each in systems[::-1]
    ]
    hollow = [line for line in steps.lines if line.get_markerfacecolor() == "white" and len(line.get_ydata())]
    assert [list(line.get_ydata()) for line in hollow] == [[0.1, 0.1]]


def test_what_is_not_of_order_one_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.py").write_text(
        "from trisolve import from_function\nimport jax.numpy as jnp\n"
        "def make(): return from_function(lambda x: 0 * x, jnp.zeros((3, 1)))\n"
    )
    config = {
        "systems": {"own": {"path": str(tmp_path / "own.py"), "name": "make"}},
        "solvers": ["cached_sequential"],
    }
    said = "systems.own: FunctionSystem is not of order one; see SystemRunner"
    check_mistake(Row(said, LINE, config), tmp_path, capfd)
