"""What differs between trainings: the examples, the loss, the figures that tell how good weights are, what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jaxtyping import Array, Float, Int


@dataclass(frozen=True)
class Metric:
    """A figure of merit of weights."""

    key: str  # in files
    label: str  # for people
    unit: str = ""
    style: str = ".3f"  # a format specification
    higher_is_better: bool = False

    @property
    def axis(self) -> str:
        """The label with the unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def shown(self, value: float) -> str:
        """The value, rounded."""
        return format(value, self.style)


@dataclass(frozen=True)
class Evaluated:
    """The examples that weights are evaluated on."""

    prefix: str  # of the metrics' keys in results.json
    words: str  # before a metric's name

    def key(self, metric: Metric) -> str:
        """The key of a metric of the weights themselves."""
        return self.prefix + metric.key

    def averaged_key(self, metric: Metric) -> str:
        """The key of a metric of the averaged weights."""
        return f"{self.prefix}{metric.key}_ema"


class Artifact(Protocol):
    """What a model makes, to look at."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What results.json says of it."""

    def write(self, folder: Path, suffix: str) -> None:
        """Write files whose names end in ``suffix``."""


class TrainTask(Protocol):
    """A way of training. An instance belongs to a config and a model's architecture, and holds the examples.

    ``order``, ``begin_epoch``, ``augmented`` and ``loss`` are compiled: pure functions of their arguments. ``model`` is
    a module in training mode in ``loss``, else in evaluation mode.
    """

    train: Any  # arrays whose leading axis is that of the examples to train on

    def __init__(self, config: Any, model: Any) -> None:
        """Load the examples; ``model`` has its first weights. Raises UsageError where something does not fit."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """What ``evaluate`` gives; the first is that of the loss."""

    @property
    def selection_metric(self) -> Metric:
        """The metric that tells the best epoch."""

    @property
    def evaluated(self) -> Evaluated:
        """On what, and how it is called."""

    @property
    def dataset(self) -> str:
        """The name of what is trained on."""

    @property
    def batch_size(self) -> int:
        """Examples of a step."""

    @property
    def num_examples(self) -> int:
        """To train on, at least ``batch_size``."""

    def order(self, key: Array) -> Int[Array, " N"]:
        """The numbers of the examples in the order of an epoch."""

    def begin_epoch(self, model: Any) -> Any:
        """What an epoch's first step reads besides weights and examples: a pytree of arrays."""

    def augmented(self, batch: Any, key: Array) -> Any:
        """Examples as they are trained on."""

    def loss(self, model: Any, carry: Any, batch: Any, key: Array) -> tuple[Float[Array, " B"], Any]:
        """The loss of each example, and what the epoch's next step reads as ``carry``."""

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """Every metric by its key, with the same noise for the same ``key``."""

    def checkpoint_info(self, values: Mapping[str, float]) -> dict[str, Any]:
        """What a checkpoint says of itself, given the metrics by key."""

    def record(self) -> dict[str, Any]:
        """What results.json says besides."""

    def show(self, model: Any, key: Array) -> Artifact:
        """What the model makes, with the same noise for the same ``key``. Raises RunFailure where it is not finite."""
