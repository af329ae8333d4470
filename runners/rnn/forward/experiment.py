"""One cell at one length and one state size under a list of solvers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from models.rnn.model import RNNConfig
from models.rnn.problems import random_rnn
from models.rnn.systems import ForwardRNN
from runners.config.schema import MeshChoice
from runners.measure.devices import Devices
from runners.measure.order_one import OrderOneResult, measure_order_one
from runners.rnn.forward.config import ForwardRNNConfig


@dataclass(frozen=True)
class Experiment:
    """What is solved: a cell with random weights on random inputs."""

    cell: str  # the config's name for it
    network: RNNConfig
    num_equations: int
    batch_size: int
    input_scale: float

    @property
    def title(self) -> str:
        """For tables and messages."""
        return f"{self.cell}, T = {self.num_equations:,}, state size {self.network.hidden_size}"

    @property
    def key(self) -> str:
        """What the names of its arrays in traces.npz begin with."""
        return f"{self.cell}/T{self.num_equations}/H{self.network.hidden_size}"

    def devices(self, choice: MeshChoice | None) -> Devices:
        """The devices that share it. Raises UsageError where they are not there, or do not divide it evenly."""
        return Devices.for_batch(choice, self.batch_size, self.num_equations, {})

    def system(self, seed: int) -> ForwardRNN:
        """The equations: weights and normal inputs from the seed."""
        return random_rnn(self.network, self.num_equations, self.batch_size, self.input_scale, seed)


@dataclass(frozen=True)
class ForwardResult:
    """All that was measured on one cell at one length and one state size."""

    experiment: Experiment
    measured: OrderOneResult

    @property
    def record(self) -> dict[str, Any]:
        """As results.json holds it."""
        network = self.experiment.network
        return {
            "cell": self.experiment.cell,
            "network": dataclasses.asdict(network),
            "state_size": network.hidden_size,
            **self.measured.record,
        }

    @property
    def traces(self) -> dict[str, np.ndarray]:
        """As traces.npz holds them."""
        return {f"{self.experiment.key}/{name}": array for name, array in self.measured.traces.items()}


def run_experiment(experiment: Experiment, config: ForwardRNNConfig, console: Console) -> ForwardResult:
    """Solve with every solver that is within the limits."""
    system = experiment.devices(config.mesh).divide(experiment.system(config.seed))
    return ForwardResult(experiment, measure_order_one(system, config.entries(experiment.cell), config, console))
