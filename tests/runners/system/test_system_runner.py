"""Systems by name under SystemRunner: results with every option, the picture of a solution that forms, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from models import PROBLEMS
from runners.cli.main import main
from runners.plotting.convergence import by_label
from runners.system.figures import forming_figure
from tests.kit.mistakes import Row, check_mistake, near

LINE = ("--runner", "SystemRunner", "--config", "{here}/c.yml", "--out", "{here}/out")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("system")
    config = {
        "system": {"name": "pendulum", "num_steps": 12, "step_size": 0.5},
        "solvers": ["cached_sequential", "picard", {"name": "newton", "stop": {"max_steps": 1}}],
        "repeats": 1,
    }
    (folder / "c.yml").write_text(yaml.safe_dump(config))
    assert main([part.replace("{here}", str(folder)) for part in LINE]) == 0
    return folder / "out"


def test_results_have_every_option_of_a_system_by_name(out: Path) -> None:
    results = json.loads((out / "results.json").read_text())
    options = {"num_steps": 12, "step_size": 0.5, "batch_size": 1, "damping": 0.1}
    assert results["config"]["system"] == {"name": "pendulum", **options}
    assert results["system"]["num_equations"] == 12
    assert [row["status"] for row in results["rows"]] == ["converged", "converged", "stopped"]


def test_what_is_stopped_on_purpose_is_held_against_the_exact_answer(out: Path) -> None:
    results = json.loads((out / "results.json").read_text())
    row = next(row for row in results["rows"] if row["status"] == "stopped")
    assert (row["label"], row["num_steps"]) == ("newton", 1)
    assert "roughness" not in results["rows"][0]
    with np.load(out / "stopped.npz") as rough, np.load(out / "solution.npz") as exact:
        assert rough.files == ["newton/x"]
        errors = np.abs(rough["newton/x"].astype(float) - exact["x"])
    wrong = int((errors > 1e-3).any(axis=-1).sum())
    assert wrong > 0
    assert row["roughness"] == {
        "wrong_equations": wrong,
        "wrong_share": wrong / 12,
        "mean_abs_error": pytest.approx(errors.mean(), rel=1e-6),
    }


def test_the_picture_shows_states_on_the_way_to_the_answer(out: Path) -> None:
    assert (out / "forming.png").stat().st_size > 1000
    with np.load(out / "solution.npz") as arrays:
        exact = arrays["x"][:, 0, 0]
    with np.load(out / "forming.npz") as arrays:
        t, ways = arrays["t"], by_label({name: arrays[name] for name in arrays if name != "t"})
    assert t.tolist() == list(range(12))
    for label, way in ways.items():
        assert way["values"].shape == (len(way["num_steps"]), 12)
        assert np.allclose(way["values"][-1], exact, atol=1e-4) == (label != "newton")
    assert not np.allclose(ways["picard"]["values"][0], exact, atol=1e-2)
    rows: list[dict[str, Any]] = [{"label": label, "solver": label} for label in ways]
    figure = forming_figure(ways, [*rows, {"label": "untraced", "solver": "jacobi"}], t, exact, "a pendulum")
    lines = [len(axes.lines) for axes in figure.axes]
    assert lines == [1 + len(way["num_steps"]) for way in ways.values()]


MISTAKES = {
    "no_name": (
        {"num_steps": 3},
        f"name is missing; expected one of {', '.join(PROBLEMS)} and its options, or of a file of your own "
        "{path: my_system.py, name: make_system, ...options}",
    ),
    "name": (
        {"name": "pendulun"},
        near(
            "c.yml: system: unknown system 'pendulun'; did you mean 'pendulum'?",
            "pendulum",
            *(name for name in PROBLEMS if name != "pendulum"),
        ),
    ),
    "option": ({"name": "pendulum", "dampening": 1}, "pendulum: unknown option 'dampening'; did you mean 'damping'? "
               "valid: damping, step_size, batch_size, num_steps"),
    "value": ({"name": "pendulum", "num_steps": 0}, "pendulum: num_steps should be at least 1, not 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_sentence(case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    system, sentence = MISTAKES[case]
    said = f"c.yml: system: {sentence}" if isinstance(sentence, str) else sentence
    check_mistake(Row(said, LINE, {"system": system, "solvers": ["jacobi"]}), tmp_path, capfd)
