"""Sound without end: samples in constant memory, from a state that goes in and comes out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from models.wavenet.network import WaveNetCache, WaveNetNetwork
from solvers.systems.autoregressive import AutoregressiveSystem
from solvers.trees.pytree import pytree

_CHUNK = 1024  # samples whose noise is drawn at once


@pytree
@dataclass(frozen=True)
class Generation:
    """The state of a generation: all that the samples to come depend on, besides weights and conditioning."""

    cache: WaveNetCache
    time: Int[Array, ""]  # samples so far, the prompt's included, less whole periods of the queues
    drawn: Int[Array, ""]  # samples so far whose noise was drawn; the prompt's was not
    key: Array  # of the noise


def begin(network: WaveNetNetwork, prompt: Int[Array, "P B"], key: Array) -> Generation:
    """The state after a prompt of class ids, which may be of length 0 and longer than the receptive field."""
    cache = prompted(network, prompt)
    return Generation(cache, network.stack.rings.wrapped(prompt.shape[0]), jnp.int32(0), key)


@jax.jit
def prompted(network: WaveNetNetwork, prompt: Int[Array, "P B"]) -> WaveNetCache:
    """The cache after a prompt, by one block update."""
    length = prompt.shape[0]
    cache = network.init_cache(prompt.shape[1], jnp.int32)
    if length == 0:
        return cache
    _, cache = network.conditionals(prompt, cache, 0, length, length)
    return network.record(prompt, cache, 0, length)


@partial(jax.jit, static_argnames=("head", "num_samples"), donate_argnames="state")
def generate(
    network: WaveNetNetwork, head: Any, state: Generation, num_samples: int
) -> tuple[Int[Array, "N B"], Generation]:
    """The next samples' class ids, and the state after them; the state given is used up.

    The samples do not depend on how they are shared out among calls, and are those that the solvers find for the noise
    that ``head.draw_noise`` gives for the same key. A network with frames of local conditioning has those of this call,
    from its first sample on.
    """

    def some(state: Generation, size: int) -> tuple[Generation, Int[Array, "S B"]]:
        noise = head.noise_at(state.key, state.drawn + jnp.arange(size), state.cache.ids.shape[1])
        system = AutoregressiveSystem(network.after(state.cache, state.time, size), head, noise)
        ids, cache = system.forward_substitution(state.cache, 0, size)
        return Generation(cache, state.time + size, state.drawn + size, state.key), ids

    queues, time = network.stack.rings.rebased(state.cache.queues, state.time)
    state = replace(state, cache=replace(state.cache, queues=queues), time=time)
    whole, rest = divmod(num_samples, _CHUNK)
    network = network.from_now(state.time)
    state, ids = lax.scan(lambda state, _: some(state, _CHUNK), state, None, length=whole)
    ids = ids.reshape(whole * _CHUNK, ids.shape[-1])
    if rest:
        state, last = some(state, rest)
        ids = jnp.concatenate([ids, last])
    return ids, replace(state, time=network.stack.rings.wrapped(state.time))
