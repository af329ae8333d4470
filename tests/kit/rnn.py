"""Small recurrent networks and what they read."""

from __future__ import annotations

import jax
from flax import nnx

from models.rnn.model import RNN, RNNConfig
from models.rnn.network import RNNNetwork


def model(cell: str = "elman", hidden_size: int = 7, seed: int = 0) -> RNNNetwork:
    return RNN(RNNConfig(cell, 1, hidden_size), rngs=nnx.Rngs(seed)).fold()


def pixels(num_equations: int, batch: int, seed: int = 0) -> jax.Array:
    return jax.random.uniform(jax.random.key(seed), (num_equations, batch, 1))
