"""Which model a run has, and one way to have it: by a checkpoint, or with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import field_validator, model_validator

from models import build, describe_model, model_class
from models.weights.checkpoint import Checkpoint
from models.weights.load import load_checkpoint
from runners.config.schema import Keys, RunConfig


class ModelChoice(Keys):
    """The keys of a config that name a model, for a schema to inherit."""

    ways: ClassVar[tuple[str, ...]] = ("model", "checkpoint")  # keys that name a model, of which one at least is needed

    # The architecture: {name: made, ...options}, or of a model of one's own {path: my_model.py, name: MyModel,
    # ...options}. It may be left out where a checkpoint tells it.
    model: dict[str, Any] | None = None
    checkpoint: str | None = None  # a name in the registry or a path; none: random weights, marked as such

    @field_validator("model")
    @classmethod
    def _check_name(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and "name" in value:
            model_class(value)
        return value

    @model_validator(mode="after")
    def _need_model(self) -> ModelChoice:
        if all(getattr(self, way) is None for way in self.ways):
            raise ValueError(f"{', '.join(self.ways[:-1])} or {self.ways[-1]} is needed")
        return self


def load(choice: ModelChoice, seed: int, name: str | None = None) -> Checkpoint:
    """The model that a config names: a checkpoint's, or else one with random weights drawn from ``seed``.

    ``name`` is the model's where the config does not say it. Raises UserError where it cannot be had.
    """
    options = {**({} if name is None else {"name": name}), **(choice.model or {})}
    return random_weights(options, seed) if choice.checkpoint is None else load_checkpoint(choice.checkpoint, options)


def random_weights(options: Mapping[str, Any], seed: int) -> Checkpoint:
    """A model of that architecture as it is before any training. Raises UserError where there is none such."""
    model = build(options, seed)
    return Checkpoint(options["name"], model, {"weights": "random"}, trained=False)


def resolved(config: RunConfig, checkpoint: Checkpoint) -> dict[str, Any]:
    """A config with every default filled in, the model's too, and what is known of the weights."""
    model = describe_model(checkpoint.name, checkpoint.model)
    return {**config.model_dump(), "model": model, "weights": checkpoint.info}
