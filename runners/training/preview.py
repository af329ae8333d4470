"""An unfinished training as it is shown: a progress bar, and files of its weights and of what the model makes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.weights.native import save_checkpoint
from runners.measure.processes import is_first
from runners.report.console import LiveProgress
from runners.report.units import format_duration
from runners.training.task import TrainTask
from runners.training.trainer import Trainer, Weights

BEST = "best.safetensors"
LATEST = "latest.safetensors"
_TIMES = 10  # how often something is shown in a run whose config does not say


def best_epoch(history: Sequence[Mapping[str, Any]], task: TrainTask) -> Mapping[str, Any]:
    """The first of the epochs in which the averaged weights were at their best."""
    key = task.evaluated.averaged_key(task.selection_metric)
    sign = -1.0 if task.selection_metric.higher_is_better else 1.0
    return min(history, key=lambda row: sign * row[key])


def save_weights(
    path: Path,
    trainer: Trainer,
    weights: Weights,
    values: Mapping[str, float],
    epoch: int,
    name: str,
    dtype: str = "float32",
) -> None:
    """Write weights that have metrics ``values``, by key, after so many epochs of the config called ``name``."""
    config, task = trainer.config, trainer.task
    about = {"epochs": epoch, "seed": config.seed, "config": name}
    info = {"dataset": task.dataset, **task.checkpoint_info(values), **about}
    save_checkpoint(path, config.model["name"], trainer.model(weights), info, np.dtype(dtype))


class Preview:
    """A folder of files written while a run trains: averaged weights, to be loaded as ``checkpoint``, and artifacts.

    ``best.safetensors`` belongs to the newest saved state: it is of the best epoch up to there, or of a later one that
    the run will come to again.
    """

    def __init__(self, trainer: Trainer, folder: Path, name: str) -> None:
        """``name``: the config's."""
        config = trainer.config
        self.folder = folder
        self._trainer, self._name = trainer, name
        every = config.sample_every_epochs
        self._every = -(-config.epochs // _TIMES) if every is None else every
        self._best: tuple[Weights, Mapping[str, Any]] | None = None  # with their epoch, not yet on the disk

    def clear(self) -> None:
        """Forget what an earlier run has left."""
        if is_first():
            shutil.rmtree(self.folder, ignore_errors=True)

    def note(self, averaged: Weights, history: Sequence[Mapping[str, Any]]) -> None:
        """Take the averaged weights after the last epoch of ``history``."""
        if best_epoch(history, self._trainer.task) is history[-1]:
            self._best = averaged, history[-1]

    def show(self, averaged: Weights, history: Sequence[Mapping[str, Any]]) -> None:
        """Write the latest weights and what the model makes with them, if it is the turn of the last epoch."""
        epoch, before = history[-1]["epoch"], history[-2]["epoch"] if len(history) > 1 else 0
        if not self._every or not is_first() or epoch // self._every == before // self._every:
            return
        self._save(LATEST, averaged, history[-1])
        for artifact in self._trainer.output(averaged, f"_{epoch:04d}").artifacts:
            artifact.write(self.folder)

    def keep_best(self) -> None:
        """Write the best weights, if better ones have come."""
        if self._best is not None and is_first():
            self._save(BEST, *self._best)
            self._best = None

    def _save(self, file: str, averaged: Weights, epoch: Mapping[str, Any]) -> None:
        task = self._trainer.task
        values = {metric.key: epoch[task.evaluated.averaged_key(metric)] for metric in task.metrics}
        save_weights(self.folder / file, self._trainer, averaged, values, epoch["epoch"], self._name)


class TrainProgress(LiveProgress):
    """A bar on a terminal; elsewhere a line for every epoch that is evaluated."""

    def __init__(self, console: Console, task: TrainTask, epochs: int, num_steps: int) -> None:
        """``num_steps`` are the steps of all ``epochs``."""
        super().__init__(
            console,
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        self.epochs, self.num_steps, self._task = epochs, num_steps, task
        self.task: TaskID | None = None
        self.reported = 0  # epochs that have been printed about

    def at(self, step: int, history: Sequence[Mapping[str, Any]]) -> None:
        """``step`` steps are done, and the epochs of ``history``."""
        epoch = f"{min(step * self.epochs // self.num_steps + 1, self.epochs)}/{self.epochs}"
        metrics = self._metrics(history[-1]) if history else ""
        if self.task is None:  # made here, so that the time left is reckoned from a resumed run's first step
            self.task = self.add_task("", total=self.num_steps, completed=step, epoch=epoch, metrics=metrics)
            self.reported = len(history)
        self.update(self.task, completed=step, epoch=epoch, metrics=metrics)
        if not self.console.is_terminal:
            for row in history[self.reported :]:
                left = row["seconds"] / row["epoch"] * (self.epochs - row["epoch"])  # at this pace
                times = f"{format_duration(row['seconds'])}, {format_duration(left)} left"
                self.say(f"epoch {row['epoch']}/{self.epochs}: {self._metrics(row)}; {times}")
        self.reported = len(history)

    def _metrics(self, row: Mapping[str, Any]) -> str:
        """The metrics of the averaged weights, and the loss in training."""
        metrics, evaluated = self._task.metrics, self._task.evaluated
        first, *others = (metric.shown(row[evaluated.averaged_key(metric)]) for metric in metrics)
        train = metrics[0].shown(row[f"train_{metrics[0].key}"])
        rest = [f"{metric.label} {value}" for metric, value in zip(metrics[1:], others, strict=True)]
        return ", ".join([f"{metrics[0].label}: train {train}", f"{evaluated.words} {first}", *rest])
