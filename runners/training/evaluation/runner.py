"""Evaluate a checkpoint by the metrics of the training that suits its model."""

from __future__ import annotations

import math
import time
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from models import describe_config
from models.weights.load import load_checkpoint
from runners.config.schema import RunConfig
from runners.experiment import RunContext, RunFailure
from runners.report.console import counting_bar
from runners.report.report import Report
from runners.training.config import EvaluateConfig
from runners.training.evaluation.report import evaluation_report
from runners.training.tasks.table import task_for


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

    def run(self) -> Report:
        """Evaluate all examples; RunFailure where a mean is not finite."""
        began = time.perf_counter()
        values = self._values()
        for metric in self.evaluation.metrics:
            if not math.isfinite(values[metric.key].mean()):
                raise RunFailure(f"the {metric.label} is not finite; check the weights")
        seconds = time.perf_counter() - began
        return evaluation_report(self.config.checkpoint, self._resolved(), self.evaluation, values, seconds)

    def _values(self) -> dict[str, Float[np.ndarray, " N"]]:
        """The metrics of each example by key, means over its draws."""
        evaluation = self.evaluation
        totals = {metric.key: np.zeros(evaluation.num_examples) for metric in evaluation.metrics}
        with counting_bar(self.context.console, evaluation.unit, evaluation.draws * evaluation.num_examples) as bar:
            for examples, values in evaluation.scores:
                for key, total in totals.items():
                    total[examples] += values[key]
                bar.advance(bar.task_ids[0], len(examples))
        return {key: total / evaluation.draws for key, total in totals.items()}

    def _resolved(self) -> dict[str, Any]:
        """The config with every default filled in."""
        return {
            **self.config.model_dump(),
            "data": self.evaluation.data,
            "model": describe_config(self.checkpoint.name, self.checkpoint.model.config),
            "weights": self.checkpoint.info,
        }
