"""What the program says about itself: --help, the keys of a runner's configs, --list, --version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from common.paths import CONFIGS
from runners import RUNNERS
from runners.cli import listing
from runners.cli.choice import choose_runner
from runners.cli.main import main
from runners.config.describe import Key, describe_keys
from runners.config.files import read_config
from runners.config.schema import Keys, RunConfig


class Inner(Keys):
    width: int = 3


class Schema(RunConfig):
    """Keys of every kind."""

    # How many of them
    # there are.
    count: Annotated[int, Field(ge=1, lt=2**32)]  # for each
    share: Annotated[float, Field(gt=0)] | None = None  # of all
    names: list[str] = Field([])
    inner: Inner = Inner()  # what lies inside


def test_keys_are_described_by_their_types_defaults_and_comments() -> None:
    described = {key.name: key for key in describe_keys(Schema)}
    shared = ["runner", "seed", "mesh", "mesh.batch", "mesh.equations", "precision"]
    assert list(described) == [*shared, "count", "share", "names", "inner", "inner.width"]
    assert described["count"] == Key(
        "count", "whole number at least 1, less than 4294967296", None, "How many of them there are. for each"
    )
    assert described["share"] == Key("share", "number more than 0 or null", "null", "of all")
    assert described["names"] == Key("names", "list, each text", "[]", "")
    assert described["inner"][2:] == ("as its keys", "what lies inside")
    assert described["inner.width"] == Key("inner.width", "whole number", "3", "")
    assert described["seed"].sentence


@pytest.mark.parametrize("runner", RUNNERS)
def test_every_runner_tells_its_keys(runner: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runner", runner, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{runner}: ")
    assert "  seed: whole number at least 0, less than 4294967296; default 1234\n      of all" in said


def test_a_config_tells_the_keys_of_its_runner(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "made_sampler", "--help"]) == 0
    assert capsys.readouterr().out.startswith("MADESamplerRunner: MADE on images")


def test_help_is_for_users_and_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "python main.py --config made_sampler.yml " in said
    assert "--download NAME" in said
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "trisolve 0.1.0\n"


def test_the_list_tells_runner_config_purpose_and_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "RESULTS", tmp_path)
    for name, content in (("evaluate", json.dumps({"wall_s": 83.2})), ("evaluate_wavenet", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(content)
    assert main(["--list"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    at = lines.index("EvaluateRunner Mean metrics of any model that can be trained, and how sure they are.")
    assert lines[at + 1].startswith("evaluate.yml 1 min 23 s Held-out metrics")
    assert lines[at + 2].startswith("evaluate_wavenet.yml - Cross-entropy")
    at = lines.index("systems (system: in a config of SystemRunner)")
    assert "pendulum A damped pendulum by Runge-Kutta steps, large swings that die away." in lines[at:]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yml")), ids=lambda path: path.name)
def test_every_shipped_config_says_its_runner(path: Path) -> None:
    assert choose_runner(None, path) == read_config(path)["runner"]


@pytest.mark.parametrize(
    ("asked", "config"),
    [("PixelCNNPPSamplerRunner", "cached_pixelcnnpp_sampler.yml"), ("SamplerRunner", "made_sampler.yml")],
)
def test_another_name_of_the_same_runner_agrees_and_so_does_a_more_general_one(asked: str, config: str) -> None:
    assert choose_runner(asked, CONFIGS / config) == asked
