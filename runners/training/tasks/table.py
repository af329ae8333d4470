"""Which way of training, and of evaluating, belongs to which kind of model."""

from __future__ import annotations

from typing import Any

from runners.config.schema import UsageError
from runners.training.task import TrainTask
from runners.training.tasks.audio import AudioTask
from runners.training.tasks.classifier import ClassifierTask
from runners.training.tasks.likelihood import LikelihoodTask

TASKS: tuple[type[TrainTask], ...] = (LikelihoodTask, ClassifierTask, AudioTask)


def task_for(name: str, model: Any) -> type[TrainTask]:
    """The first task that suits a model. Raises UsageError where none does."""
    for task in TASKS:
        if task.suits(model):
            return task
    raise UsageError(f"model {name} has no metrics: it is not one that is trained here")
