"""An evaluation as a report: the mean of each metric, and its standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from runners.report.report import Report
from runners.training.metrics import Metric
from runners.training.task import Evaluation


def evaluation_report(
    checkpoint: str,
    config: Mapping[str, Any],
    evaluation: Evaluation,
    values: Mapping[str, Float[np.ndarray, " N"]],
    seconds: float,
) -> Report:
    """The metrics of a checkpoint, from those of each example by key; ``config`` is the resolved one."""
    means = {key: float(each.mean()) for key, each in values.items()}
    errors = {key: standard_error(each) if evaluation.independent else None for key, each in values.items()}
    said = ", ".join(_said(metric, means[metric.key], errors[metric.key]) for metric in evaluation.metrics)
    return Report(
        kind="evaluation",
        title=checkpoint,
        config=config,
        record={
            **{key: {"mean": means[key], "standard_error": errors[key]} for key in values},
            f"num_{evaluation.unit}": evaluation.num_examples,
            **evaluation.record,
            "seconds": seconds,
        },
        sentences=[f"{checkpoint}: {said} ({evaluation.num_examples} {evaluation.words})"],
    )


def standard_error(values: Float[np.ndarray, " N"]) -> float | None:
    """The standard error of the mean over independent examples; None where there is only one."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _said(metric: Metric, mean: float, error: float | None) -> str:
    """A mean and how sure it is, with four digits where training shows three."""
    style = metric.style if metric.style.endswith("%") else ".4f"
    spread = "" if error is None else f" +- {error:{style}}"
    return f"{mean:{style}}{spread} {metric.axis}"
