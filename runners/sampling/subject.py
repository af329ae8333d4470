"""What a sampler samples from: a model bound to noise and to what is given, as equations to solve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models import describe_config
from models.autoregressive import AutoregressiveSystem
from models.weights.checkpoint import Checkpoint
from runners.config.models import load
from runners.config.schema import UsageError
from runners.measure.comparison import Comparison
from runners.sampling.config import SamplerConfig
from runners.sampling.report import Samples


@dataclass(frozen=True)
class Subject:
    """A model ready to be sampled from.

    Attributes:
        checkpoint: the model and what is known of its weights.
        system: its equations, for noise that is fixed.
        head: the output distribution's options, as a config has them.
        words: of which model, for titles.
        present: the samples that a comparison of solvers found, and how they are seen or heard.
    """

    checkpoint: Checkpoint
    system: AutoregressiveSystem
    head: Mapping[str, Any]
    words: str
    present: Callable[[Comparison, str], Samples]

    def resolved(self, config: SamplerConfig) -> dict[str, Any]:
        """The config with every default filled in."""
        return {
            "model": describe_config(self.checkpoint.name, self.checkpoint.model.config),
            **config.model_dump(exclude={"solvers", "model"}),
            "head": dict(self.head),
            "solvers": [entry.record for entry in config.solvers],
            "weights": self.checkpoint.info,
        }


def load_model(config: SamplerConfig, runner: str, name: str | None) -> Checkpoint:
    """The model that a config names. Raises UsageError where it is not ``name``, on which the runner insists."""
    said = (config.model or {}).get("name", name)
    if name is not None and said != name:
        raise UsageError(f"{runner} samples from {name}, not {said}")
    return load(config, config.seed, name)


def in_words(config: SamplerConfig, checkpoint: Checkpoint) -> str:
    """Which model, which weights, how many samples."""
    weights = "random weights" if config.checkpoint is None else config.checkpoint
    return f"{checkpoint.name}, {weights}, batch {config.batch_size}"
