"""The keys of an experiment on training a recurrent classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from runners.config.schema import Count, DataConfig, RunConfig
from runners.config.solvers import TrainingSolvers


class RNNClassifierConfig(RunConfig):
    """Which images and which RNN, how it is trained, and by which solvers of its forward pass."""

    shares_devices: ClassVar[bool] = True
    successors: ClassVar[Mapping[str, str]] = {"dataset": "data"}

    data: DataConfig = DataConfig()
    max_train_images: Count | None = None  # only the first ones, for quick trials
    cell: str = "gru"  # a name in models.rnn.model
    hidden_size: Count = 32
    epochs: Count = 6
    batch_size: Count = 50
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5e-3  # of Adam
    # Each {name: ..., options}; max_steps is an option of every solver. The first is what the others are compared with.
    solvers: TrainingSolvers
