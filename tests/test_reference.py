"""The results that ship: each is of a config and of a commit that holds all code, and one command writes it again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from common.paths import CONFIGS, REFERENCE, ROOT

FOLDERS = {path.name: path for path in REFERENCE.iterdir() if path.is_dir()}
# Trainings of up to hours, which nothing runs again, and of which docs/experiments/training.md says the same.
TRAINED_AT_NO_COMMIT = {
    *("train_densenet", "train_diffusion", "train_pixelcnnpp_mnist", "train_pixelcnnpp_photos32"),
    *("train_wavenet", "train_wavenet_gated"),
}


def rerun() -> set[str]:
    """The configs that ``make results`` runs."""
    (text,) = re.findall(r"^SHIPPED := (.*?[^\\])$", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    return set(text.replace("\\", "").split())


def at_no_commit() -> set[str]:
    """The results that name no commit, or one from which files differed."""
    commits = {name: json.loads((path / "results.json").read_text())["git_commit"] for name, path in FOLDERS.items()}
    return {name for name, commit in commits.items() if not re.fullmatch("[0-9a-f]{12}", commit or "")}


def test_results_name_a_commit_that_holds_all_code_but_for_those_that_are_known() -> None:
    assert at_no_commit() == TRAINED_AT_NO_COMMIT
    assert not rerun() & TRAINED_AT_NO_COMMIT


def test_the_documentation_says_which_trainings_were_of_no_commit() -> None:
    text = " ".join((ROOT / "docs" / "experiments" / "training.md").read_text().split())
    (sentence,) = re.findall(r"Of no commit that holds all of their code are ([^.]*)\.", text)
    assert set(re.findall(r"`(\w+)`", sentence)) == TRAINED_AT_NO_COMMIT


def test_each_is_of_a_config_and_one_command_runs_it_again() -> None:
    configs = {path.stem for path in CONFIGS.glob("*.yml")}
    assert rerun() <= FOLDERS.keys() <= configs
    assert all(name.startswith("train_") for name in FOLDERS.keys() - rerun())  # which `make train` is for


def test_what_make_hands_on_has_no_comment_behind_it() -> None:
    """The space before a comment would be part of the value, which a program may refuse."""
    values = re.findall(r"\bexport \w+ *= *(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert values
    assert not [value for value in values if "#" in value or value != value.strip()]


@pytest.mark.parametrize("name", sorted(FOLDERS.keys() - TRAINED_AT_NO_COMMIT))
def test_results_are_of_the_config_as_it_stands(name: str) -> None:
    config = yaml.safe_load((CONFIGS / f"{name}.yml").read_text(encoding="utf-8"))
    recorded = json.loads((FOLDERS[name] / "results.json").read_text())["config"]
    assert list(differing(config, recorded)) == []


def differing(wanted: dict[str, Any], recorded: dict[str, Any], path: str = "") -> Iterator[str]:
    """Keys of a config whose values results have otherwise; a name may be recorded with its options."""
    for key, value in wanted.items():
        if key not in recorded:
            continue
        found = recorded[key]
        if isinstance(value, dict) and isinstance(found, dict):
            yield from differing(value, found, f"{path}{key}.")
        elif isinstance(value, (int, float, str, bool)) and not isinstance(found, dict) and found != value:
            yield f"{path}{key}"
