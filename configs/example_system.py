"""The example of SystemRunner: a signal that feeds back on itself, as a system of equations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from trisolve import from_function


def make_system(length: int = 500, batch_size: int = 4, feedback: float = 0.5, *, seed: int) -> Any:
    """x_t = tanh(feedback * x_{t-1} - x_{t-2} / 4) + input_t, with random inputs: equations of order two."""
    inputs = 0.5 * jax.random.normal(jax.random.key(seed), (length, batch_size))
    return from_function(_signal, jnp.zeros_like(inputs), inputs, jnp.float32(feedback))


def _signal(x: Float[Array, "T B"], inputs: Float[Array, "T B"], feedback: Float[Array, ""]) -> Float[Array, "T B"]:
    one, two = (jnp.pad(x, ((steps, 0), (0, 0)))[: len(x)] for steps in (1, 2))  # the values one and two steps before
    return jnp.tanh(feedback * one - 0.25 * two) + inputs
