"""A stream through a network chunk by chunk: how long each takes, what comes out, and the full pass beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from runners.stream.listener import Listener


class Chunk(NamedTuple):
    """A chunk of sound that was heard, and what came of it."""

    sound: Float32[np.ndarray, " S"]
    latency_s: float  # from the chunk's arrival to its values, with the state ready for the next
    values: Float[np.ndarray, " V"]  # means over the chunk
    outputs: Float[Array, "P O"]  # the network's, of the S samples and of what fills them up


class Session:
    """A listener, and its program for chunks of up to so many samples.

    Shorter chunks are filled up, so that none costs a compilation once the stream goes on. ``state`` is the one after
    the chunks so far.
    """

    def __init__(self, listener: Listener, first: Any, chunk_size: int, gain: float) -> None:
        """Compile, which takes ``compile_s``, and warm up.

        Args:
            listener: what hears.
            first: the state that the stream begins with.
            chunk_size: samples of a chunk.
            gain: a factor on the sound.
        """
        self._listener, self._first, self._size, self._gain = listener, first, chunk_size, np.float32(gain)
        silence = np.zeros(chunk_size, np.float32)
        begin = time.perf_counter()
        self._program = _hear.lower(listener, silence, first, np.int32(0), self._gain).compile()
        self.compile_s = time.perf_counter() - begin
        self.state = jax.tree.map(jnp.copy, first)
        self._hear(silence[:0])  # nothing of it counts: the state stays as it is

    def play(self, chunks: Iterable[Float32[np.ndarray, " S"]]) -> Iterator[Chunk]:
        """Hear chunks of at most the session's size as they come."""
        for sound in chunks:
            begin = time.perf_counter()
            values, outputs = self._hear(sound)
            yield Chunk(sound, time.perf_counter() - begin, values, outputs)

    def full_pass(self, sound: Float32[np.ndarray, " T"]) -> Float32[np.ndarray, "T O"]:
        """The network's outputs for all of a sound in one go, from the state that the stream began with."""
        first = jax.tree.map(jnp.copy, self._first)
        _, outputs, _ = _hear(self._listener, sound, first, np.int32(len(sound)), self._gain)
        return np.asarray(outputs)

    def _hear(self, sound: Float32[np.ndarray, " S"]) -> tuple[Float[np.ndarray, " V"], Float[Array, "P O"]]:
        padded = sound if len(sound) == self._size else np.pad(sound, (0, self._size - len(sound)))
        count = np.int32(len(sound))
        values, outputs, self.state = self._program(self._listener, padded, self.state, count, self._gain)
        jax.block_until_ready((outputs, self.state))
        return np.asarray(values), outputs


@partial(jax.jit, donate_argnames="state")
def _hear(
    listener: Listener, sound: Float[Array, " S"], state: Any, count: Int[Array, ""], gain: Float[Array, ""]
) -> tuple[Float[Array, " V"], Float[Array, "S O"], Any]:
    """The mean of a chunk's values, the network's outputs, and the state after the chunk; the one given is used up."""
    heard, state = listener(gain * sound, state, count)
    counts = (jnp.arange(sound.shape[0]) < count)[:, None]
    mean = jnp.sum(jnp.where(counts, heard.values, 0.0), axis=0) / jnp.maximum(count, 1)
    return mean, heard.outputs, state
