"""A training as a report: history, weights, curves, and what the model makes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import jax

from runners.plotting.picture import Picture
from runners.report.report import Artifact, Report
from runners.training.figures import training_figure
from runners.training.preview import best_epoch, save_weights
from runners.training.store import Snapshot
from runners.training.trainer import Trainer

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
    """The report of a training by the config ``name``, from the snapshot after its last step.

    The averaged weights are rounded as they are stored, and evaluated again. ``best`` is the file of the best epoch's
    weights, kept too if that is not the last epoch and the file is there. Raises RunFailure where the weights do not
    survive their rounding.
    """
    config, task, history = trainer.config, trainer.task, snapshot.history
    dtype, evaluated = config.weights_dtype, task.evaluated
    weights = jax.tree.map(lambda a: a.astype(dtype).astype(a.dtype), snapshot.state.averaged)
    values = trainer.evaluate(weights, f"with {dtype} weights; try float32")
    output, top = trainer.output(weights), best_epoch(history, task)
    about = {"values": values, "epoch": history[-1]["epoch"], "name": name, "dtype": dtype}
    stored = partial(save_weights, trainer=trainer, weights=weights, **about)
    files: list[Artifact] = [WeightsFile(WEIGHTS, stored)]
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
