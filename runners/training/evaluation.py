"""Evaluate a checkpoint by the metrics of the training that suits its model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from common.code import file_of
from models.capabilities import ImageModel, require
from models.weights.load import load_checkpoint
from runners.config.models import resolved
from runners.config.schema import RunConfig, UsageError
from runners.experiment import RunContext, RunFailure
from runners.report.console import counting_bar
from runners.report.report import Report
from runners.training.config import EvaluateConfig
from runners.training.metrics import Metric
from runners.training.task import Evaluation, Scores, TrainTask, by_example
from runners.training.tasks.audio import AudioTask
from runners.training.tasks.classifier import ClassifierTask
from runners.training.tasks.denoising import DenoisingTask
from runners.training.tasks.likelihood import LikelihoodTask
from runners.training.tasks.text import TextTask

# The ways of training, and of evaluating, each for a kind of model.
TASKS: tuple[type[TrainTask], ...] = (LikelihoodTask, ClassifierTask, AudioTask, DenoisingTask, TextTask)


class EvaluateRunner:
    """Mean metrics of any model that can be trained, and how sure they are.

    Images have bits/dim or cross-entropy and accuracy, a clip of sound has cross-entropy and accuracy by sample.
    """

    Config: ClassVar[type[RunConfig]] = EvaluateConfig

    def __init__(self, config: EvaluateConfig, context: RunContext) -> None:
        """Load weights and data; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.checkpoint = load_checkpoint(config.checkpoint, config.model)
        name, model = self.checkpoint.name, self.checkpoint.model
        self.evaluation = task_for(name, model).evaluation(config, name, model)

    @classmethod
    def to_check(cls, config: EvaluateConfig, context: RunContext) -> tuple[str, Any]:
        """The model that is evaluated."""
        checkpoint = load_checkpoint(config.checkpoint, config.model)
        return checkpoint.name, checkpoint.model

    def run(self) -> Report:
        """Evaluate all examples; RunFailure where a mean is not finite."""
        began, evaluation = time.perf_counter(), self.evaluation
        values = by_example(self._counted(), evaluation.metrics, evaluation.num_examples, evaluation.draws)
        for metric in evaluation.metrics:
            if not math.isfinite(values[metric.key].mean()):
                raise RunFailure(f"the {metric.label} is not finite; check the weights")
        seconds = time.perf_counter() - began
        config = {**resolved(self.config, self.checkpoint), "data": evaluation.data}
        return evaluation_report(config, evaluation, values, seconds)

    def _counted(self) -> Iterator[Scores]:
        """The scores as they come, counted by a progress bar."""
        evaluation = self.evaluation
        with counting_bar(self.context.console, evaluation.unit, evaluation.draws * evaluation.num_examples) as bar:
            for scores in evaluation.scores:
                yield scores
                bar.advance(bar.task_ids[0], len(scores.examples))


def task_for(name: str, model: Any) -> type[TrainTask]:
    """The first task whose capability a model has. Raises UsageError where it has none of them."""
    for task in TASKS:
        if isinstance(model, task.capability):
            return task
    if file_of(type(model)) is not None:
        require(model, ImageModel)  # the sentence says what is lacking
    raise UsageError(f"model {name} has no metrics: it is not one that is trained here")


def evaluation_report(
    config: Mapping[str, Any], evaluation: Evaluation, values: Mapping[str, Float[np.ndarray, " N"]], seconds: float
) -> Report:
    """The mean of each metric and its standard error, from those of each example; ``config`` is the resolved one."""
    checkpoint, count = config["checkpoint"], evaluation.num_examples
    known = evaluation.independent and count > 1  # else there is no standard error of the mean
    errors = {key: float(each.std(ddof=1) / math.sqrt(count)) if known else None for key, each in values.items()}
    means = {key: {"mean": float(each.mean()), "standard_error": errors[key]} for key, each in values.items()}
    said = ", ".join(_said(metric, values[metric.key].mean(), errors[metric.key]) for metric in evaluation.metrics)
    return Report(
        kind="evaluation",
        title=checkpoint,
        config=config,
        record={**means, f"num_{evaluation.unit}": count, **evaluation.record, "seconds": seconds},
        sentences=[f"{checkpoint}: {said} ({count} {evaluation.words})"],
        mesh=evaluation.mesh,
    )


def _said(metric: Metric, mean: float, error: float | None) -> str:
    """A mean and how sure it is, with four digits where training shows three."""
    style = metric.style if metric.style.endswith("%") else ".4f"
    spread = "" if error is None else f" +- {error:{style}}"
    return f"{mean:{style}}{spread} {metric.axis}"
