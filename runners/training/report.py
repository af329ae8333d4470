"""What a training run leaves behind: results.json, curves, weights and an artifact, in a folder that appears whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from common.files import replaced_folder
from models.weights.native import save_checkpoint
from runners.experiment import RunContext, RunFailure
from runners.report.environment import describe_environment
from runners.training.figures import training_curves
from runners.training.preview import best_epoch, checkpoint_info
from runners.training.store import Snapshot
from runners.training.trainer import Trainer

SCHEMA = 1
WEIGHTS = "weights.safetensors"


class TrainingReport(NamedTuple):
    """What a run came to."""

    values: dict[str, float]  # the metrics of the weights as stored, by key
    info: dict[str, Any]  # what the file of weights says of itself


def write_training_report(context: RunContext, trainer: Trainer, snapshot: Snapshot, best: Path) -> TrainingReport:
    """Write everything to ``context.out``, which keeps its old content until all of the new is there.

    ``best``: the file of the best epoch's weights, kept too if that is not the last epoch and the file is there.

    Raises RunFailure where the weights do not survive their rounding.
    """
    config, task = trainer.config, trainer.task
    weights = jax.tree.map(lambda a: a.astype(config.weights_dtype).astype(a.dtype), snapshot.state.averaged)
    values = trainer.evaluate(weights)
    for metric in task.metrics:
        if not np.isfinite(values[metric.key]):
            raise RunFailure(
                f"the {task.evaluated.words} {metric.label} is not finite with {config.weights_dtype} weights; "
                "try float32"
            )
    artifact = trainer.show(weights)
    top, last = best_epoch(snapshot.history, task), snapshot.history[-1]
    record = {
        "schema": SCHEMA,
        "name": context.name,
        "runner": context.runner,
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        **describe_environment(),
        "history": snapshot.history,
        **{task.evaluated.key(metric): values[metric.key] for metric in task.metrics},
        **task.record(),
        "best_epoch": top["epoch"],
        **artifact.record,
        "wall_s": snapshot.elapsed_s,
    }
    info = checkpoint_info(trainer, values, last["epoch"], context.name)
    with replaced_folder(context.out) as folder:
        text = json.dumps(record, indent=2, allow_nan=False)
        (folder / "results.json").write_text(text + "\n", encoding="utf-8")
        model = trainer.model(weights)
        save_checkpoint(folder / WEIGHTS, config.model["name"], model, info, np.dtype(config.weights_dtype))
        artifact.write(folder, "")
        if top is not last and best.is_file():
            shutil.copyfile(best, folder / best.name)
        training_curves(folder / "training.png", snapshot.history, task, context.name)
    return TrainingReport(values, info)
