"""A lower bound of WaveNet's time per sample: the chain of products that every sample needs, and no more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from models.wavenet.network import WaveNetNetwork


def bare_chain(network: WaveNetNetwork, batch_size: int, num_samples: int) -> Callable[[], Int[Array, "*B"]]:
    """A compiled loop of ``num_samples`` steps, each the network's products on the newest value alone.

    A step looks the newest class id up in the first layer's table, multiplies by every later layer's newest tap and by
    the output's kernel, and takes the likeliest class, which the next step reads: 28 vector-matrix products for 2 x 14
    plain layers. Without queues, their products, the layers' biases and conditioning it makes no sound; but no
    generator that does these products one after the other can be faster.

    Args:
        network: whose weights; with global or local conditioning, they are left out.
        batch_size: sequences side by side; one alone is a vector and not a matrix of one row, which is faster.
        num_samples: steps of a call.

    Returns:
        A function of nothing that gives the last class ids, (batch,), or () for one sequence.
    """
    first = jnp.zeros((batch_size,) if batch_size > 1 else (), jnp.int32)
    compiled = _chain.lower(network, first, num_samples).compile()
    return partial(compiled, network, first)


@partial(jax.jit, static_argnames="num_samples")
def _chain(network: WaveNetNetwork, ids: Int[Array, "*B"], num_samples: int) -> Int[Array, "*B"]:
    def step(_: Any, ids: Int[Array, "*B"]) -> Int[Array, "*B"]:
        h = jnp.take(network.first.tables[0], ids, axis=0, mode="clip")
        h = jax.nn.relu(h) if network.first.rectified else h
        num_skip = network.stack.num_skip
        skip: Any = jnp.zeros((*h.shape[:-1], num_skip), h.dtype) if num_skip else None
        for layer in network.stack.layers:
            nothing = jnp.zeros((*h.shape[:-1], layer.newest.shape[-1]), h.dtype)  # which the compiler removes
            h, skip = layer(h, skip, nothing)
        return jnp.argmax(network.readout(h, skip), axis=-1).astype(jnp.int32)

    return lax.fori_loop(0, num_samples, step, ids)
