"""The one thing that differs between trainings: examples, loss, metrics, and what a model makes to be looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from runners.report.report import Artifact
from runners.training.config import EvaluateConfig
from runners.training.metrics import Evaluated, Metric


class ModelOutput(NamedTuple):
    """Something that a model makes, which shows what it has learnt."""

    record: Mapping[str, Any]  # what results.json says of it
    artifacts: Sequence[Artifact]  # pictures and sounds of it


class Scores(NamedTuple):
    """The metrics of some of an evaluation's examples."""

    examples: Int[np.ndarray, " b"]  # their numbers, from 0
    values: Mapping[str, Shaped[np.ndarray, " b"]]  # by the metric's key


@dataclass(frozen=True)
class Evaluation:
    """A model's metrics on each of many examples."""

    metrics: Sequence[Metric]
    num_examples: int
    unit: str  # how the examples are called, in the plural
    words: str  # which ones they are, for people: "held-out images of mnist5k"
    data: Mapping[str, Any]  # the config's ``data`` with every default filled in
    scores: Iterable[Scores]  # computed as they are iterated over; each example comes ``draws`` times, with other noise
    draws: int = 1
    independent: bool = True  # whether the examples are, so that their mean has a standard error
    record: Mapping[str, Any] = field(default_factory=dict)  # what else results.json says
    mesh: Mapping[str, int] = field(default_factory=dict)  # how many devices share each axis; empty where it is one


def by_example(
    scores: Iterable[Scores], metrics: Sequence[Metric], num_examples: int, draws: int = 1
) -> dict[str, Float[np.ndarray, " N"]]:
    """Every metric of each example by the metric's key, means over the draws."""
    totals = {metric.key: np.zeros(num_examples) for metric in metrics}
    for examples, values in scores:
        for key, total in totals.items():
            total[examples] += values[key]
    return {key: total / draws for key, total in totals.items()}


class TrainTask(Protocol):
    """A way of training. An instance belongs to a config and a model's architecture, and holds the examples.

    ``order``, ``begin_epoch``, ``augmented`` and ``loss`` are compiled: pure functions of their arguments. ``model`` is
    a module in training mode in ``loss``, else in evaluation mode.
    """

    capability: ClassVar[type]  # a protocol in models.capabilities: what models need for this training and evaluation
    metrics: Sequence[Metric]  # those that ``evaluate`` gives; the first is that of the loss
    selection_metric: Metric  # by which the best epoch is chosen
    evaluated: Evaluated  # the examples that ``evaluate`` is about
    info_prefix: ClassVar[str] = ""  # of the metrics in a checkpoint's info
    dataset: str  # the name of the data that is trained on
    train: Any  # arrays whose leading axis is that of the examples to train on
    num_examples: int  # to train on, at least ``batch_size``
    batch_size: int  # the number of examples of a step

    def __init__(self, config: Any, model: Any) -> None:
        """Load the examples; ``model`` has its first weights. Raises UserError where something does not fit."""

    @classmethod
    def evaluation(cls, config: EvaluateConfig, name: str, model: Any) -> Evaluation:
        """The evaluation of the model called ``name`` that a config asks for, by the metrics that the class has.

        Raises UserError where the examples cannot be had, or are not like those that the model is for.
        """

    def order(self, key: Array) -> Int[Array, " N"]:
        """The numbers of the examples in the order of an epoch."""

    def begin_epoch(self, model: Any) -> Any:
        """The ``carry`` of an epoch's first step: a pytree of arrays, of the same shapes in every epoch.

        It is empty where examples are independent of each other.
        """
        return ()

    def augmented(self, batch: Any, key: Array) -> Any:
        """The examples of a step as they are trained on, with their random changes, if there are any."""
        return batch

    def loss(self, model: Any, carry: Any, batch: Any, key: Array) -> tuple[Float[Array, " B"], Any]:
        """The loss of each example, and the ``carry`` of the epoch's next step."""

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """Every metric by its key, with the same noise for the same ``key``."""

    def checkpoint_info(self, values: Mapping[str, float]) -> dict[str, Any]:
        """The part of a checkpoint's info that follows from the metrics, which are given by key."""
        metrics = {self.info_prefix + metric.key: values[metric.key] for metric in self.metrics}
        return {**metrics, **self.record()}

    def record(self) -> dict[str, Any]:
        """The keys of results.json that only this task has."""
        return {}

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """Something that the model makes, with the same noise for the same ``key``, in files named with ``suffix``.

        Raises RunFailure where it is not finite.
        """
