"""A training as a report: history, weights, curves, and what the model makes."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from models.weights.native import save_checkpoint
from runners.experiment import RunFailure
from runners.plotting.picture import Picture
from runners.report.report import Artifact, Report
from runners.training.figures import training_figure
from runners.training.preview import best_epoch, checkpoint_info
from runners.training.store import Snapshot
from runners.training.trainer import Trainer, Weights

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, without which a training has failed. Satisfies Artifact."""

    name: str
    save: Callable[[Path], object]  # under this path

    essential: ClassVar[bool] = True

    def write(self, folder: Path) -> None:
        """Save the weights under their name."""
        self.save(folder / self.name)


def training_report(name: str, trainer: Trainer, snapshot: Snapshot, best: Path) -> Report:
    """What a training came to, whose averaged weights are evaluated again as they are stored, rounded.

    Args:
        name: the config's.
        trainer: the model's.
        snapshot: after the last step.
        best: the file of the best epoch's weights, kept too if that is not the last epoch and the file is there.

    Raises:
        RunFailure: the weights do not survive their rounding.
    """
    config, task, history = trainer.config, trainer.task, snapshot.history
    dtype, evaluated = config.weights_dtype, task.evaluated
    weights = jax.tree.map(lambda a: a.astype(dtype).astype(a.dtype), snapshot.state.averaged)
    values = _values(trainer, weights)
    output, top = trainer.output(weights), best_epoch(history, task)
    files: list[Artifact] = [_stored(trainer, weights, checkpoint_info(trainer, values, history[-1]["epoch"], name))]
    if top is not history[-1] and best.is_file():
        files.append(WeightsFile(best.name, partial(shutil.copyfile, best)))
    curves = Picture("training.png", partial(training_figure, history, task.metrics, evaluated, name))
    metrics = ", ".join(f"{metric.label} {values[metric.key]:.4f}" for metric in task.metrics)
    return Report(
        kind="training",
        title=name,
        config=config.model_dump(mode="json"),
        record={
            "history": history,
            **{evaluated.key(metric): values[metric.key] for metric in task.metrics},
            **task.record(),
            "best_epoch": top["epoch"],
            **output.record,
            "wall_s": snapshot.elapsed_s,
        },
        artifacts=[*files, *output.artifacts, curves],
        sentences=[f"{evaluated.words} {metrics} ({dtype} weights)"],
    )


def _values(trainer: Trainer, weights: Weights) -> dict[str, float]:
    """The metrics by key. Raises RunFailure where one is not finite."""
    values, task = trainer.evaluate(weights), trainer.task
    for metric in task.metrics:
        if not math.isfinite(values[metric.key]):
            raise RunFailure(
                f"the {task.evaluated.words} {metric.label} is not finite with {trainer.config.weights_dtype} weights; "
                "try float32"
            )
    return values


def _stored(trainer: Trainer, weights: Weights, info: Mapping[str, Any]) -> WeightsFile:
    """The weights in our own format, with what the file says of itself."""
    config, model = trainer.config, trainer.model(weights)

    def save(path: Path) -> None:
        save_checkpoint(path, config.model["name"], model, info, np.dtype(config.weights_dtype))

    return WeightsFile(WEIGHTS, save)
