"""How long WaveNet takes for a sample: with queues, beside the bare chain of products, and naively.

The bare chain is a lower bound: the products that every sample needs, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int
from pydantic import TypeAdapter

from models import build
from models.layers.products import matmul
from models.wavenet.generation import begin
from models.wavenet.network import WaveNetNetwork
from runners.measure.generation import CompiledGeneration, state_bytes
from runners.measure.timing import Times, time_call, time_calls
from solvers.systems.autoregressive import AutoregressiveSystem


@dataclass(frozen=True)
class Speed:
    """Times for one more sample of every sequence of a batch."""

    queues: Times
    chain: Times  # a lower bound, see ``bare_chain``; measured in turn with the queues
    state_bytes: int  # what is kept between two samples


SPEEDS = TypeAdapter(list[Speed])  # as JSON, from process to process


def measure_speed(
    architecture: Mapping[str, Any], *, batch_size: int, num_samples: int, repeats: int, seed: int
) -> Speed:
    """Generate ``repeats`` times ``num_samples`` samples by argmax, and run the bare chain as often.

    A run of each is not timed, before those that are. The weights of the architecture, which has its model's name, are
    random: the time does not depend on them.
    """
    model = build(architecture, seed)
    network = model.fold()
    state = begin(network, jnp.zeros((0, batch_size), jnp.int32), jax.random.key(seed))
    size = state_bytes(state)
    generator = CompiledGeneration(network, model.greedy, state, num_samples)
    chain = bare_chain(network, batch_size, num_samples)
    runs: list[tuple[float, float]] = []
    for _ in range(1 + repeats):
        runs.append((generator.piece(network)[1] / num_samples, time_call(chain) / num_samples))
    queues, bare = zip(*runs[1:], strict=True)
    return Speed(Times.of(queues), Times.of(bare), size)


def measure_naive(architecture: Mapping[str, Any], *, batch_size: int, repeats: int, seed: int) -> Times:
    """Time sweeps over the receptive field: what naive generation computes anew for every sample.

    At most ``repeats``, as many as fit into five seconds, and one at the least, after one that is not timed.
    """
    model = build(architecture, seed)
    length = model.config.receptive_field
    noise = model.greedy.draw_noise(jax.random.key(seed), length, batch_size)
    system = AutoregressiveSystem(model.fold(length), model.greedy, noise)
    ids = system.initial_guess()
    sweep = jax.jit(lambda system, ids: system.sweep(ids)).lower(system, ids).compile()
    return time_calls(lambda: sweep(system, ids), repeats)


def bare_chain(network: WaveNetNetwork, batch_size: int, num_samples: int) -> Callable[[], Int[Array, "*B"]]:
    """A compiled loop of ``num_samples`` steps, each the network's products on the newest value alone.

    A step looks the newest class id up in the first layer's table, multiplies by every later layer's newest tap and by
    the output's kernel, and takes the likeliest class, which the next step reads: 28 vector-matrix products for 2 x 14
    plain layers. Without queues, their products, the layers' biases and conditioning it makes no sound; but no
    generator that does these products one after the other can be faster.

    A sequence alone is a vector and not a matrix of one row, which is faster. Returns a function of nothing that gives
    the last class ids, (batch,), or () for one sequence.
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
            h, skip = layer(h, skip, matmul(h, layer.filter.kernel(1)))
        return jnp.argmax(network.readout(h, skip), axis=-1).astype(jnp.int32)

    return lax.fori_loop(0, num_samples, step, ids)
