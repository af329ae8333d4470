"""A training as a report: history, weights, curves, and what the model makes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from models.weights.native import save_checkpoint
from runners.plotting.picture import Picture
from runners.report.report import Artifact, Report
from runners.training.config import TrainConfig
from runners.training.figures import training_figure
from runners.training.result import TrainingResult
from runners.training.task import TrainTask

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class WeightsFile:
    """A model's weights in our own format. Satisfies Artifact."""

    name: str
    model_name: str  # in models.MODELS
    model: Any
    info: Mapping[str, Any]  # what the file says of itself
    dtype: str

    essential: ClassVar[bool] = True

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        save_checkpoint(folder / self.name, self.model_name, self.model, self.info, np.dtype(self.dtype))


@dataclass(frozen=True)
class CopiedFile:
    """A file that is there already, and is kept under the same name. Satisfies Artifact."""

    path: Path

    essential: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def write(self, folder: Path) -> None:
        """Copy the file."""
        shutil.copyfile(self.path, folder / self.name)


def training_report(name: str, config: TrainConfig, task: TrainTask, result: TrainingResult, best: Path) -> Report:
    """What a training came to; ``name`` is the config's.

    ``best`` is the file of the best epoch's weights, kept too if that is not the last epoch and the file is there.
    """
    history, evaluated = result.history, task.evaluated
    weights = WeightsFile(WEIGHTS, config.model["name"], result.model, result.info, config.weights_dtype)
    kept: list[Artifact] = [CopiedFile(best)] if result.best is not history[-1] and best.is_file() else []
    curves = Picture("training.png", partial(training_figure, history, task.metrics, evaluated, name))
    metrics = ", ".join(f"{metric.label} {result.values[metric.key]:.4f}" for metric in task.metrics)
    return Report(
        kind="training",
        title=name,
        config=config.model_dump(mode="json"),
        record={
            "history": history,
            **{evaluated.key(metric): result.values[metric.key] for metric in task.metrics},
            **task.record(),
            "best_epoch": result.best["epoch"],
            **result.output.record,
            "wall_s": result.elapsed_s,
        },
        artifacts=[weights, *kept, *result.output.artifacts, curves],
        sentences=[f"{evaluated.words} {metrics} ({config.weights_dtype} weights)"],
    )
