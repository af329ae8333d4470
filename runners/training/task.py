"""The one thing that differs between trainings: examples, loss, metrics, and what a model makes to be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from runners.report.report import Artifact
from runners.training.config import EvaluateConfig
from runners.training.metrics import Evaluated, Metric


@dataclass(frozen=True)
class ModelOutput:
    """Something that a model makes, which shows what it has learnt.

    Attributes:
        record: what results.json says of it.
        artifacts: pictures and sounds of it.
    """

    record: Mapping[str, Any]
    artifacts: Sequence[Artifact]


class Scores(NamedTuple):
    """The metrics of some of an evaluation's examples."""

    examples: Int[np.ndarray, " b"]  # their numbers, from 0
    values: Mapping[str, Shaped[np.ndarray, " b"]]  # by the metric's key


@dataclass(frozen=True)
class Evaluation:
    """A model's metrics on each of many examples.

    Attributes:
        metrics: which ones.
        num_examples: how many examples there are.
        unit: how they are called, in the plural.
        words: which ones they are, for people: "held-out images of mnist5k".
        data: the config's ``data`` with every default filled in.
        scores: computed as they are iterated over; each example comes ``draws`` times, with other noise each time.
        draws: as above.
        independent: whether the examples are independent of each other, so that their mean has a standard error.
        record: what else results.json says.
    """

    metrics: Sequence[Metric]
    num_examples: int
    unit: str
    words: str
    data: Mapping[str, Any]
    scores: Iterable[Scores]
    draws: int = 1
    independent: bool = True
    record: Mapping[str, Any] = field(default_factory=dict)


class TrainTask(Protocol):
    """A way of training. An instance belongs to a config and a model's architecture, and holds the examples.

    ``order``, ``begin_epoch``, ``augmented`` and ``loss`` are compiled: pure functions of their arguments. ``model`` is
    a module in training mode in ``loss``, else in evaluation mode.
    """

    train: Any  # arrays whose leading axis is that of the examples to train on

    def __init__(self, config: Any, model: Any) -> None:
        """Load the examples; ``model`` has its first weights. Raises UserError where something does not fit."""

    @classmethod
    def suits(cls, model: Any) -> bool:
        """Whether a model has what this way of training, and of evaluating, needs of it."""

    @classmethod
    def evaluation(cls, config: EvaluateConfig, name: str, model: Any) -> Evaluation:
        """The evaluation of the model called ``name`` that a config asks for, by the metrics of the training.

        Raises UserError where the examples cannot be had, or are not like those that the model is for.
        """

    @property
    def metrics(self) -> Sequence[Metric]:
        """The metrics that ``evaluate`` gives; the first is that of the loss."""

    @property
    def selection_metric(self) -> Metric:
        """The metric by which the best epoch is chosen."""

    @property
    def evaluated(self) -> Evaluated:
        """The examples that ``evaluate`` is about."""

    @property
    def dataset(self) -> str:
        """The name of the data that is trained on."""

    @property
    def batch_size(self) -> int:
        """The number of examples of a step."""

    @property
    def num_examples(self) -> int:
        """The number of examples to train on, at least ``batch_size``."""

    def order(self, key: Array) -> Int[Array, " N"]:
        """The numbers of the examples in the order of an epoch."""

    def begin_epoch(self, model: Any) -> Any:
        """The ``carry`` of an epoch's first step: a pytree of arrays, of the same shapes in every epoch."""

    def augmented(self, batch: Any, key: Array) -> Any:
        """The examples of a step as they are trained on, with their random changes."""

    def loss(self, model: Any, carry: Any, batch: Any, key: Array) -> tuple[Float[Array, " B"], Any]:
        """The loss of each example, and the ``carry`` of the epoch's next step."""

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """Every metric by its key, with the same noise for the same ``key``."""

    def checkpoint_info(self, values: Mapping[str, float]) -> dict[str, Any]:
        """The part of a checkpoint's info that follows from the metrics, which are given by key."""

    def record(self) -> dict[str, Any]:
        """The keys of results.json that only this task has."""

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """Something that the model makes, with the same noise for the same ``key``, in files named with ``suffix``.

        Raises RunFailure where it is not finite.
        """
