"""The result of a training: its weights as they are stored, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from runners.experiment import RunFailure
from runners.training.store import Snapshot
from runners.training.task import ModelOutput, TrainTask
from runners.training.trainer import Trainer


@dataclass(frozen=True)
class TrainingResult:
    """What there is once the last step is done."""

    model: Any  # with the averaged weights, rounded as in their file
    values: Mapping[str, float]  # its metrics by key
    info: Mapping[str, Any]  # what the file says of itself
    output: ModelOutput
    history: Sequence[Mapping[str, Any]]  # one entry for each epoch that was evaluated
    best: Mapping[str, Any]  # the entry of the best epoch
    elapsed_s: float  # training time over all resumptions


def training_result(trainer: Trainer, snapshot: Snapshot, name: str) -> TrainingResult:
    """Round the averaged weights and evaluate them again; ``name`` is the config's.

    Raises RunFailure where the weights do not survive the rounding.
    """
    dtype, task = trainer.config.weights_dtype, trainer.task
    weights = jax.tree.map(lambda a: a.astype(dtype).astype(a.dtype), snapshot.state.averaged)
    values = trainer.evaluate(weights)
    for metric in task.metrics:
        if not np.isfinite(values[metric.key]):
            raise RunFailure(
                f"the {task.evaluated.words} {metric.label} is not finite with {dtype} weights; try float32"
            )
    return TrainingResult(
        model=trainer.model(weights),
        values=values,
        info=checkpoint_info(trainer, values, snapshot.history[-1]["epoch"], name),
        output=trainer.output(weights),
        history=snapshot.history,
        best=best_epoch(snapshot.history, task),
        elapsed_s=snapshot.elapsed_s,
    )


def best_epoch(history: Sequence[Mapping[str, Any]], task: TrainTask) -> Mapping[str, Any]:
    """The first of the epochs in which the averaged weights were at their best."""
    key = task.evaluated.averaged_key(task.selection_metric)
    sign = -1.0 if task.selection_metric.higher_is_better else 1.0
    return min(history, key=lambda row: sign * row[key])


def checkpoint_info(trainer: Trainer, values: Mapping[str, float], epoch: int, name: str) -> dict[str, Any]:
    """What a file of weights says of itself: metrics by key, after how many epochs, of which config."""
    task = trainer.task
    return {
        "dataset": task.dataset,
        **task.checkpoint_info(values),
        "epochs": epoch,
        "seed": trainer.config.seed,
        "config": name,
    }
