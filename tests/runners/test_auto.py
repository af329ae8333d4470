"""Every runner that has solvers takes auto for one of them, and says in its results what was chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runners.cli.main import main
from tests.kit.smallest import CASES

WITH_SOLVERS = [name for name, (_, config) in CASES.items() if "solvers" in config]
# Those of which a test of the others shows the same; all run with the slow ones.
FAST = ("system", "backprop")


def choices(value: Any) -> Iterator[dict[str, Any]]:
    """What was chosen, wherever a record tells it."""
    if isinstance(value, dict):
        if "choice" in value:
            yield value["choice"]
        for each in value.values():
            yield from choices(each)
    elif isinstance(value, list):
        for each in value:
            yield from choices(each)


@pytest.mark.parametrize(
    "case", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in WITH_SOLVERS]
)
def test_a_runner_takes_the_solver_that_is_chosen(case: str, tmp_path: Path) -> None:
    runner, config = CASES[case]
    kept = [each for i, each in enumerate(config["solvers"]) if i == 0 or each == "cached_sequential"]
    few = {"name": "auto", "budget_s": 0.01, "without": ["anderson"]}
    text = yaml.safe_dump({"seed": 1, **config, "solvers": [*kept, few]}).replace("FOLDER", str(tmp_path))
    (tmp_path / "c.yml").write_text(text)
    assert main(["--runner", runner, "--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]) == 0
    found = list(choices(json.loads((tmp_path / "out" / "results.json").read_text())))
    assert found
    assert all(each["predictions"] for each in found)
