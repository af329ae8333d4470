"""The keys of an experiment on backpropagation through an RNN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from models.rnn.model import RNNConfig
from runners.config.schema import Count, DataConfig, RunConfig
from runners.config.solvers import SolverList, TrainingSolvers
from runners.measure.comparison import NAIVE_LENGTH


class BackpropConfig(RunConfig):
    """Which sequences, which RNN, and how its backward pass is solved: followed by step, and in training."""

    shares_devices: ClassVar[bool] = True
    successors: ClassVar[Mapping[str, str]] = {
        "dataset": "data",
        "data_dim": "image_size, the square root of it",
        "n_repeats": "trainings",
        "timed_runs": "repeats; what was repeats, how often each method trains, is trainings now",
    }

    data: DataConfig = DataConfig()
    image_size: Count = 10  # images are resized to this height and width; a sequence is their pixels in raster order
    num_sequences: Count = 10  # held-out images on which the gradient is followed by step

    cell: str = "elman"  # a name in models.rnn.model.CELLS
    hidden_size: Count = 128
    activation: str | None = None  # of the Elman cell; default softplus. GRU and LSTM have their own
    init_scale: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None  # null: as RNNConfig says; elman: 0.1

    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4  # of plain stochastic gradient descent
    train_steps: Count = 200  # each on one training image
    trainings: Count = 10  # with every method, each time with other first weights and other images
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.95  # the decay of the loss's moving average

    # Each {name: ..., options} or a bare name. ``solvers`` are followed by step; they have max_steps, repeats (timed
    # runs) and trace beside their own options. ``methods`` train; with max_steps the gradient is taken as it stands
    # after so many steps. The first sequential one of either list is the reference.
    solvers: SolverList
    methods: TrainingSolvers
    repeats: Count = 5  # timed runs of each solver, after one that is not
    sequential_max_length: Count = NAIVE_LENGTH  # naive sequential evaluation is left out of longer sequences
    time_limit_s: Annotated[float, Field(gt=0)] | None = None  # for each of these runs

    @model_validator(mode="after")
    def _check_architecture(self) -> BackpropConfig:
        self.architecture(1)  # its error is a sentence
        return self

    @property
    def num_equations(self) -> int:
        """The length of a sequence, T."""
        return self.image_size**2

    def architecture(self, channels: int) -> RNNConfig:
        """The RNN for images of so many channels: it predicts the pixel that it has just read."""
        return RNNConfig(
            cell=self.cell,
            num_inputs=channels,
            hidden_size=self.hidden_size,
            activation=self.activation,
            init_scale=self.init_scale,
        )
