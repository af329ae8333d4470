"""Networks that listen to a stream of sound: they give numbers of their own, or the surprisal of every sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from common.pytree import pytree
from models.wavenet.quantization import Quantizer
from models.wavenet.streaming import StreamingNetwork, StreamState
from runners.config.schema import UsageError


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
    if not hasattr(model, "stream"):
        raise UsageError(f"model {name} does not read a stream; valid: streaming, wavenet")
    try:
        network = jax.jit(lambda model: model.stream())(model)
    except ValueError as error:
        raise UsageError(
            f"model {name} cannot listen: {error}; take a network with input: scalar and quantization: linear, "
            "conditioned on nothing, such as wavenet_speech"
        ) from None
    return Predictor(network, model.quantizer)
