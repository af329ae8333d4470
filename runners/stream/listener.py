"""Networks that listen to a stream of sound chunk by chunk, and how long each chunk takes.

A listener gives numbers of its own, or the surprisal of every sample; a session is its compiled program on a stream.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float32, Int

from models.capabilities import Streamable, require
from models.wavenet.quantization import Quantizer
from models.wavenet.streaming import StreamingNetwork, StreamState
from runners.config.schema import UsageError
from solvers.trees.pytree import pytree


class Heard(NamedTuple):
    """The numbers that a listener gives for a chunk of S samples."""

    values: Float[Array, "S V"]  # what is reported
    outputs: Float[Array, "S O"]  # the network's own


class Listener(Protocol):
    """A network that listens. A registered pytree, whose weights are leaves."""

    @property
    def label(self) -> str:
        """The name of its values, with their unit."""

    def begin(self) -> Any:
        """The state before the first sample."""

    def __call__(self, sound: Float[Array, " S"], state: Any, count: Int[Array, ""]) -> tuple[Heard, Any]:
        """The first ``count`` of S samples, which the rest fills up; and the state after them."""


@pytree
@dataclass(frozen=True)
class Regressor:
    """A network whose outputs are the values. Satisfies Listener."""

    network: StreamingNetwork

    @property
    def label(self) -> str:
        """The name of its values: what they are is the network's own business."""
        return "output"

    def begin(self) -> StreamState:
        """The state before the first sample: silence was before it."""
        return self.network.init_state()

    def __call__(
        self, sound: Float[Array, " S"], state: StreamState, count: Int[Array, ""]
    ) -> tuple[Heard, StreamState]:
        """The network's outputs for ``count`` samples, as values too, and the state after them."""
        outputs, state = self.network(sound[:, None, None], state, count)
        return Heard(outputs[:, 0], outputs[:, 0]), state


@pytree
@dataclass(frozen=True)
class Expectation:
    """A stream so far, and what is expected of the sample to come."""

    stream: StreamState
    logits: Float[Array, " K"]


@pytree
@dataclass(frozen=True)
class Predictor:
    """A model of sound: after each sample a distribution over the classes of the next one. Satisfies Listener.

    Values are the surprisal, -log p(class of the sample | all samples before it): a mean of them is the cross-entropy.
    """

    network: StreamingNetwork
    quantizer: Quantizer = field(metadata={"static": True})

    @property
    def label(self) -> str:
        """The name of the surprisal, with its unit."""
        return "surprisal (nats a sample)"

    def begin(self) -> Expectation:
        """The state after a 0 in the place of the sample before the first, as the model's equations begin."""
        logits, stream = self.network(jnp.zeros((1, 1, 1)), self.network.init_state())
        return Expectation(stream, logits[0, 0])

    def __call__(
        self, sound: Float[Array, " S"], state: Expectation, count: Int[Array, ""]
    ) -> tuple[Heard, Expectation]:
        """The surprisal of ``count`` samples, and the distribution over the one after them."""
        ids = self.quantizer.encode(sound)
        outputs, stream = self.network(self.quantizer.decode(ids)[:, None, None], state.stream, count)
        expected = jnp.concatenate([state.logits[None], outputs[:, 0]])
        logs = jax.nn.log_softmax(expected[:-1])
        surprisal = -jnp.take_along_axis(logs, ids[:, None], axis=-1)
        following = lax.dynamic_index_in_dim(expected, count, keepdims=False)
        return Heard(surprisal, outputs[:, 0]), Expectation(stream, following)


def listener(name: str, model: Any) -> Listener:
    """A listener with a model's weights. Raises UsageError where a model cannot read sound sample by sample."""
    if name == "streaming":
        if model.config.num_inputs != 1:
            raise UsageError(f"model streaming reads {model.config.num_inputs} numbers a step (num_inputs); sound is 1")
        return Regressor(jax.jit(lambda model: model.fold())(model))
    require(model, Streamable)
    try:
        network = jax.jit(lambda model: model.stream())(model)
    except ValueError as error:
        raise UsageError(
            f"model {name} cannot listen: {error}; take a network with input: scalar and quantization: linear, "
            "conditioned on nothing, such as wavenet_speech"
        ) from None
    return Predictor(network, model.quantizer)


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
        """Compile, which takes ``compile_s``, and warm up; ``first`` is the state that the stream begins with."""
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
