"""Which model a run has: by its architecture, with random weights, or by a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from common.errors import UserError
from models import build, describe_config
from models.weights.checkpoint import CheckpointError, flat_state
from models.weights.native import save_checkpoint
from runners.config.models import ModelChoice, load
from runners.config.schema import RunConfig, UsageError, check_config

MADE = {"name": "made", "num_inputs": 9, "hidden_sizes": [5], "clamp_lambda": 1e-3}


class Config(ModelChoice, RunConfig):
    batch_size: int = 2


class Published(ModelChoice, RunConfig):
    ways: ClassVar[tuple[str, ...]] = (*ModelChoice.ways, "published")

    published: str | None = None


class Evaluation(ModelChoice, RunConfig):
    checkpoint: str


def checked(schema: type[Any] = Config, **config: Any) -> Any:
    return check_config(schema, config, "c.yml")


def same(a: Any, b: Any) -> bool:
    left, right = flat_state(a), flat_state(b)
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    save_checkpoint(tmp_path / "w.safetensors", "made", build(MADE, 3), {"dataset": "none"})
    return str(tmp_path / "w.safetensors")


def test_an_architecture_alone_has_random_weights() -> None:
    found = load(checked(model=MADE), 3)
    assert (found.name, found.info, found.trained) == ("made", {"weights": "random"}, False)
    assert same(found.model, build(MADE, 3))
    assert not same(found.model, load(checked(model=MADE), 4).model)


def test_a_checkpoint_tells_the_architecture(weights: str) -> None:
    found = load(checked(checkpoint=weights), 1)
    assert (found.name, found.info, found.trained) == ("made", {"dataset": "none"}, True)
    assert describe_config("made", found.model.config) == describe_config("made", build(MADE, 3).config)
    assert same(found.model, build(MADE, 3))


def test_the_name_may_be_the_runner_s(weights: str) -> None:
    nameless = {key: value for key, value in MADE.items() if key != "name"}
    assert load(checked(model=nameless), 3, "made").name == "made"
    assert load(checked(checkpoint=weights), 1, "made").name == "made"
    with pytest.raises(CheckpointError, match="the config says name: wavenet, the checkpoint name: made"):
        load(checked(checkpoint=weights), 1, "wavenet")
    with pytest.raises(UserError, match="^a model needs a name; valid: made, "):
        load(checked(model=nameless), 3)


def test_a_schema_may_know_other_ways_or_insist_on_one(weights: str) -> None:
    assert checked(Published, published="densenet121").model is None
    assert load(checked(Evaluation, checkpoint=weights), 1).trained
    with pytest.raises(UsageError, match=r"^c\.yml: model, checkpoint or published is needed$"):
        checked(Published)
    with pytest.raises(UsageError, match=r"^c\.yml: checkpoint should be text, not null$"):
        checked(Evaluation, checkpoint=None)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "model or checkpoint is needed"),
        ({"model": {"name": "mad"}}, "model: unknown model 'mad'; did you mean 'made'[?] valid: made, .*"),
        ({"model": {"name": ["x"]}}, "model: unknown model .*; valid: .*made.*"),
        ({"model": "made"}, "model should be a mapping of keys to values, not 'made'"),
        ({"model": MADE, "chekpoint": "x"}, "unknown config key 'chekpoint'; did you mean 'checkpoint'[?] valid: .*"),
    ],
)
def test_a_mistake_is_found_before_anything_is_loaded(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=rf"^c\.yml: {sentence}$"):
        checked(**config)


def test_mistakes_in_the_architecture_are_the_user_s() -> None:
    with pytest.raises(UserError, match="model made: num_inputs must be at least 1, not 0"):
        load(checked(model={**MADE, "num_inputs": 0}), 1)
    with pytest.raises(UserError, match="unknown checkpoint 'made_mnst'; did you mean 'made_mnist'"):
        load(checked(checkpoint="made_mnst"), 1)
