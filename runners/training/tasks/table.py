"""The table of tasks: the way of training, and of evaluating, that belongs to each kind of model."""

from __future__ import annotations

from typing import Any

from runners.config.schema import UsageError
from runners.training.task import TrainTask
from runners.training.tasks.audio import AudioTask
from runners.training.tasks.classifier import ClassifierTask
from runners.training.tasks.likelihood import LikelihoodTask

TASKS: tuple[type[TrainTask], ...] = (LikelihoodTask, ClassifierTask, AudioTask)


def task_for(name: str, model: Any) -> type[TrainTask]:
    """The first task whose capability a model has. Raises UsageError where it has none of them."""
    for task in TASKS:
        if isinstance(model, task.capability):
            return task
    raise UsageError(f"model {name} has no metrics: it is not one that is trained here")
