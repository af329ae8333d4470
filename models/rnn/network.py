"""A recurrent network with a linear output in the inference form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from models.layers.products import matmul
from models.rnn.cell import RecurrentCell
from models.rnn.systems import ForwardRNN
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class RNNNetwork:
    """h_t = cell(h_{t-1}, x_t), y_t = h_t V + c. All its leaves are parameters, so that gradients look like it."""

    cell: RecurrentCell
    kernel: Float[Array, "H O"]
    bias: Float[Array, " O"]

    def states(self, inputs: Any) -> Any:
        """The states h_0 .. h_{T-1} for inputs (T, batch, I), one after the other: leaves (T, batch, H)."""
        system = ForwardRNN.of(self.cell, inputs)
        if not system.num_equations:
            return system.initial_guess()
        return system.forward_substitution(system.init_cache(), 0, system.num_equations)[0]

    def predict(self, states: Any) -> Float[Array, "*S O"]:
        """The outputs y, from states with any leading axes."""
        return matmul(self.cell.output(states), self.kernel) + self.bias

    def loss(self, states: Any, targets: Float[Array, "T B O"]) -> Float[Array, ""]:
        """The mean squared error of y over equations, samples and outputs.

        Raises:
            ValueError: targets of another shape than the predictions, which would broadcast.
        """
        predictions = self.predict(states)
        if targets.shape != predictions.shape:
            raise ValueError(f"targets must be laid out as {predictions.shape}, not {targets.shape}")
        return jnp.sum((predictions - targets) ** 2) / max(1, targets.size)
