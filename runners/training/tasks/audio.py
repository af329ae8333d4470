"""Training by the likelihood of an audio clip, in nats a sample: truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from common.pytree import pytree
from data.audio.clip import AudioError, Waveform, load_clip
from runners.config.schema import UsageError
from runners.training.config import AudioConfig, ClipConfig, JitterConfig
from runners.training.task import Evaluated, Metric
from runners.training.tasks.continuation import ClipContinuation, SoundArtifact

CROSS_ENTROPY = Metric("cross_entropy", "cross-entropy", "nats a sample")
ACCURACY = Metric("accuracy", "accuracy", style=".2%", higher_is_better=True)


@pytree
@dataclass(frozen=True)
class Chunks:
    """A clip's class ids cut up, in order. The last chunk is filled up with samples that do not count."""

    ids: Int[Array, "N S"]
    start: Int[Array, " N"]  # the number in the clip of a chunk's first sample
    counted: Bool[Array, "N S"]  # whether a sample is one of those that are asked for

    @classmethod
    def of(cls, ids: Int[np.ndarray, " T"], size: int, first: int = 0) -> Chunks:
        """Chunks of ``size`` samples, of which those from ``first`` on count."""
        count = -(-len(ids) // size)
        times = np.arange(count * size).reshape(count, size)
        padded = np.pad(ids, (0, times.size - len(ids))).reshape(times.shape)
        counted = (times >= first) & (times < len(ids))
        return cls(jnp.asarray(padded), jnp.asarray(times[:, 0].astype(np.int32)), jnp.asarray(counted))


class AudioTask:
    """Minus the log-likelihood of a clip's class ids, chunk by chunk in order. Satisfies TrainTask.

    Each chunk's step begins with the network's cache of all that came before: the context is exact however long it is,
    while gradients end at the chunk's beginning.

    The model needs ``quantizer``, ``fold()``, a CausalNetwork over class ids (samples, batch), and two heads: ``head``,
    whose likelihood it is, and ``greedy``, which takes the likeliest class.
    """

    metrics = (CROSS_ENTROPY, ACCURACY)
    selection_metric = CROSS_ENTROPY
    batch_size = 1

    def __init__(self, config: AudioConfig, model: Any) -> None:
        """Load the clip. Raises UsageError where it cannot be had, or does not fit the chunks or the model."""
        if not hasattr(model, "quantizer"):
            raise UsageError(f"model {config.model['name']} does not tell the likelihood of sound")
        if model.config.sample_rate != config.data.sample_rate:
            raise UsageError(
                f"data.sample_rate is {config.data.sample_rate}, the model's sample_rate {model.config.sample_rate}; "
                "they should be the same"
            )
        try:
            jax.eval_shape(lambda model: model.fold(), model)
        except ValueError as error:  # it is conditioned on something
            raise UsageError(f"model {config.model['name']} cannot be trained on a clip alone: {error}") from None
        self.clip = _clip(config.data)
        length = len(self.clip.samples)
        held_out = round(config.data.held_out_s * self.clip.sample_rate)
        if length - held_out < config.chunk_size:
            raise UsageError(
                f"chunk_size {config.chunk_size} is more than the {max(0, length - held_out)} samples to train on, of "
                f"a clip of {length} with data.held_out_s {config.data.held_out_s:g}"
            )
        ids = np.asarray(model.quantizer.encode(self.clip.samples))
        self.train = Chunks.of(ids[: length - held_out], config.chunk_size)
        self.held_out = Chunks.of(ids, config.chunk_size, first=length - held_out if held_out else 0)
        self.num_examples = len(self.train.ids)
        self.dataset = Path(config.data.wav).name if config.data.wav else "speech"
        self.evaluated = Evaluated(prefix="", words="held-out" if held_out else "training clip")
        self._evaluated_on = f"last {held_out} samples of the clip" if held_out else "training clip"
        self._jitter, self._num_classes = config.input_jitter, model.quantizer.num_classes
        self._totals = jax.jit(_totals)
        self._generator = ClipContinuation(self.clip, config.show_s, config.prompt_s)

    def order(self, key: Array) -> Int[Array, " N"]:
        """As they follow each other."""
        return jnp.arange(self.num_examples)

    def begin_epoch(self, model: Any) -> Any:
        """The cache of nothing."""
        return model.fold().init_cache(1, jnp.int32)

    def augmented(self, batch: Chunks, key: Array) -> Chunks:
        """As they are: what is disturbed is what the network reads, not what it is asked for."""
        return batch

    def loss(self, model: Any, carry: Any, batch: Chunks, key: Array) -> tuple[Float[Array, " B"], Any]:
        """Mean of the chunk's samples, and the cache behind it."""
        x = batch.ids.T
        read = x if self._jitter is None else jittered(x, key, self._jitter, self._num_classes)
        logits, cache = _conditionals(model.fold(), read, carry, batch.start[0])
        losses = jnp.where(batch.counted.T, -model.head.log_prob(logits, x), 0.0)
        return jnp.sum(losses, axis=0) / jnp.sum(batch.counted, axis=1), cache

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """Mean over the samples that count, and how often the likeliest class is right."""
        logs, right = self._totals(model, self.held_out)
        count = int(jnp.sum(self.held_out.counted))
        return {CROSS_ENTROPY.key: -float(logs) / count, ACCURACY.key: int(right) / count}

    def checkpoint_info(self, values: Mapping[str, float]) -> dict[str, Any]:
        """Cross-entropy and accuracy, and of what."""
        return {**{metric.key: values[metric.key] for metric in self.metrics}, **self.record()}

    def record(self) -> dict[str, Any]:
        """What the metrics are of."""
        return {"evaluated_on": self._evaluated_on}

    def show(self, model: Any, key: Array) -> SoundArtifact:
        """SoundArtifact of its own, beside the clip."""
        return self._generator.generate(model, key)


def jittered(x: Int[Array, "S B"], key: Array, jitter: JitterConfig, num_classes: int) -> Int[Array, "S B"]:
    """Class ids of which some are moved by up to ``jitter.classes`` up or down, within those that there are."""
    which_key, move_key = jax.random.split(key)
    moved = jax.random.bernoulli(which_key, jitter.probability, x.shape)
    by = jax.random.randint(move_key, x.shape, -jitter.classes, jitter.classes + 1)
    return jnp.clip(x + jnp.where(moved, by, 0), 0, num_classes - 1).astype(x.dtype)


def _totals(model: Any, chunks: Chunks) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """The log-likelihood of the samples that count, and how many of them are the likeliest class."""
    network = model.fold()

    def visit(cache: Any, chunk: Chunks) -> tuple[Any, tuple[Array, Array]]:
        x = chunk.ids[:, None]
        logits, cache = _conditionals(network, x, cache, chunk.start)
        logs = jnp.where(chunk.counted, model.head.log_prob(logits, x)[:, 0], 0.0)
        right = chunk.counted & (jnp.argmax(logits[:, 0], axis=-1) == chunk.ids)
        return cache, (jnp.sum(logs), jnp.sum(right))

    _, (logs, right) = lax.scan(visit, network.init_cache(1, jnp.int32), chunks)
    return jnp.sum(logs), jnp.sum(right)


def _conditionals(
    network: Any, read: Int[Array, "S B"], cache: Any, start: Int[Array, ""]
) -> tuple[Float[Array, "S B K"], Any]:
    """The parameters for a chunk of which the network reads ``read``, and the cache behind it."""
    size = read.shape[0]
    logits, cache = network.conditionals(read, cache, start, size, size)
    return logits, network.record(read, cache, start, size)


def _clip(config: ClipConfig) -> Waveform:
    try:
        path = None if config.wav is None else Path(config.wav).expanduser()
        return load_clip(path, config.sample_rate, config.max_s)
    except AudioError as error:
        raise UsageError(f"data: {error}") from None
