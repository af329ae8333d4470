"""How long WaveNet takes for a sample: with queues, beside the bare chain of products, and naively."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from models import build
from models.autoregressive import AutoregressiveSystem
from models.wavenet.generation import begin
from runners.measure.generation import CompiledGeneration, state_bytes
from runners.measure.timing import Times, time_call, time_calls
from runners.wavenet_timing.bound import bare_chain


@dataclass(frozen=True)
class Speed:
    """Times for one more sample of every sequence of a batch."""

    queues: Times
    chain: Times  # a lower bound, see ``bare_chain``; measured in turn with the queues
    state_bytes: int  # what is kept between two samples

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Speed:
        """From plain values, as ``dataclasses.asdict`` gives them."""
        return cls(Times(**record["queues"]), Times(**record["chain"]), record["state_bytes"])


def measure_speed(
    architecture: Mapping[str, Any], *, batch_size: int, num_samples: int, repeats: int, seed: int
) -> Speed:
    """Generate ``repeats`` times ``num_samples`` samples by argmax, and run the bare chain as often.

    Args:
        architecture: a model's, with its name.
        batch_size: sequences side by side.
        num_samples: of each timed run.
        repeats: timed runs of each, after one that is not.
        seed: of the weights, which are random.
    """
    model = _model(architecture, seed)
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
    model = _model(architecture, seed)
    length = model.config.receptive_field
    noise = model.greedy.draw_noise(jax.random.key(seed), length, batch_size)
    system = AutoregressiveSystem(model.fold(length), model.greedy, noise)
    ids = system.initial_guess()
    sweep = _sweep.lower(system, ids).compile()
    return time_calls(lambda: sweep(system, ids), repeats)


@jax.jit
def _sweep(system: AutoregressiveSystem, ids: Int[Array, "T B"]) -> Int[Array, "T B"]:
    swept: Int[Array, "T B"] = system.sweep(ids)
    return swept


def _model(architecture: Mapping[str, Any], seed: int) -> Any:
    """A model with random weights: the time does not depend on them."""
    return build(architecture, seed)
