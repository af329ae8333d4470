"""Recurrent networks with random weights on random inputs, as systems by name."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from models.problem import Count, Nonnegative, Problem
from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import BackwardRNN, ForwardRNN


def random_rnn(network: RNNConfig, num_equations: int, batch_size: int, input_scale: float, seed: int) -> ForwardRNN:
    """The forward pass of a network: weights from the seed, and normal inputs of that standard deviation."""
    cell = RNN(network, rngs=nnx.Rngs(seed)).fold().cell
    shape = (num_equations, batch_size, network.num_inputs)
    inputs = input_scale * jax.random.normal(jax.random.fold_in(jax.random.key(seed), 1), shape)
    return ForwardRNN.of(cell, inputs)


@dataclass(frozen=True)
class RNNProblem(Problem):
    """The states of a recurrent network; its options are RNNConfig's in models/rnn/model.py, and those of inputs."""

    num_steps: Count = 10_000
    batch_size: Count = 1
    cell: str = "gru"
    hidden_size: Count = 16
    num_inputs: Count = 2
    input_scale: Nonnegative = 1.0  # standard deviation of the inputs
    activation: str | None = None
    init_scale: float | None = None
    gain: float | None = None
    recurrent: str | None = None

    def __post_init__(self) -> None:
        self._network()

    def system(self, seed: int) -> ForwardRNN | BackwardRNN:
        """The forward pass, from the cell's first state."""
        return random_rnn(self._network(), self.num_steps, self.batch_size, self.input_scale, seed)

    def _network(self) -> RNNConfig:
        drawn = {key: getattr(self, key) for key in ("activation", "init_scale", "gain", "recurrent")}
        return RNNConfig(self.cell, self.num_inputs, self.hidden_size, num_outputs=1, **drawn)


@dataclass(frozen=True)
class RNNBackwardProblem(RNNProblem):
    """The gradient of a loss of the last state with respect to every state, from the last to the first."""

    def system(self, seed: int) -> BackwardRNN:
        """The backward pass at the forward pass's solution, for a loss that is random and linear in the last state."""
        forward = random_rnn(self._network(), self.num_steps, self.batch_size, self.input_scale, seed)
        states, _ = forward.forward_substitution(forward.init_cache(), 0, self.num_steps)
        key = jax.random.fold_in(jax.random.key(seed), 2)
        at_end = jax.tree.map(
            lambda a: jnp.zeros_like(a).at[-1].set(jax.random.normal(key, a.shape[1:], a.dtype)), states
        )
        return BackwardRNN.of(forward.cell, states, forward.drive, at_end)
