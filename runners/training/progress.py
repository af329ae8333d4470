"""The progress bar of a training run: epoch, time left, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from runners.report.console import LiveProgress
from runners.report.units import format_duration
from runners.training.metrics import Metric
from runners.training.task import TrainTask


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
                self.say(f"epoch {row['epoch']}/{self.epochs}: {self._metrics(row)}; {self._times(row)}")
        self.reported = len(history)

    def _times(self, row: Mapping[str, Any]) -> str:
        """The time up to an epoch, and the time left at this pace, for people."""
        left = row["seconds"] / row["epoch"] * (self.epochs - row["epoch"])
        return f"{format_duration(row['seconds'])}, {format_duration(left)} left"

    def _metrics(self, row: Mapping[str, Any]) -> str:
        """The metrics of the averaged weights, and the loss in training."""
        first, *others = self._task.metrics
        text = f"{first.label}: train {first.shown(row[f'train_{first.key}'])}, "
        text += f"{self._task.evaluated.words} {self._evaluated(first, row)}"
        return ", ".join([text, *(f"{metric.label} {self._evaluated(metric, row)}" for metric in others)])

    def _evaluated(self, metric: Metric, row: Mapping[str, Any]) -> str:
        return metric.shown(row[self._task.evaluated.averaged_key(metric)])
