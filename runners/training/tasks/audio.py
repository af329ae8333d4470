"""Training by the likelihood of an audio clip, or of the bytes of a text: truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from models.capabilities import SoundModel
from runners.config.schema import UsageError, check_config
from runners.measure.devices import Devices
from runners.training.config import AudioConfig, ClipConfig, EvaluateConfig, JitterConfig
from runners.training.metrics import ACCURACY, SAMPLE_CROSS_ENTROPY, Evaluated
from runners.training.task import Evaluation, ModelOutput, Scores, TrainTask, by_example
from runners.training.tasks.clip import Chunks, ClipContinuation, TextContinuation, clip_name, fold, load_parts

_CHUNK = 4000  # samples that are evaluated at once


class AudioTask(TrainTask):
    """Minus the log-likelihood of a clip's class ids, in nats, chunk by chunk in order. Satisfies TrainTask.

    The bytes of a text are class ids as they stand.

    Each chunk's step begins with the network's cache of all that came before: the context is exact however long it is,
    while gradients end at the chunk's beginning.

    The model needs ``quantizer``, ``fold()``, a CausalNetwork over class ids (samples, batch), and two heads: ``head``,
    whose likelihood it is, and ``greedy``, which takes the likeliest class.
    """

    capability = SoundModel
    metrics = (SAMPLE_CROSS_ENTROPY, ACCURACY)
    selection_metric = SAMPLE_CROSS_ENTROPY
    batch_size = 1

    def __init__(self, config: AudioConfig, model: Any) -> None:
        """Load the clip. Raises UserError where it cannot be had, or does not fit the chunks or the model."""
        parts = load_parts(config.data, config.model["name"], model, "trained")
        samples, clip = parts.words
        if parts.num_train < config.chunk_size:
            held_out = "" if config.data.is_text else f" with data.held_out_s {config.data.held_out_s:g}"
            raise UsageError(
                f"chunk_size {config.chunk_size} is more than the {max(0, parts.num_train)} {samples} to train on, of "
                f"a {clip} of {len(parts.ids)}{held_out}"
            )
        self.clip = parts.wave
        self.train, self.held_out = parts.train(config.chunk_size), parts.evaluated(config.chunk_size)
        self.num_examples = len(self.train.ids)
        self.dataset = clip_name(config.data)
        self.evaluated = Evaluated(prefix="", words="held-out" if parts.held_out else "training clip")
        self._evaluated_on = f"last {parts.held_out} {samples} of the {clip}" if parts.held_out else "training clip"
        self._jitter, self._num_classes = config.input_jitter, model.quantizer.num_classes
        self._continuation: ClipContinuation | TextContinuation = (
            TextContinuation(parts.ids)
            if parts.wave is None
            else ClipContinuation(parts.wave, config.show_s, config.prompt_s)
        )

    @classmethod
    def evaluation(cls, config: EvaluateConfig, name: str, model: Any) -> Evaluation:
        """The metrics of each sample of a clip, or of its held-out end or what is before. Raises UserError."""
        data = check_config(ClipConfig, config.data, f"data for model {name}")
        if config.max_images is not None:
            raise UsageError(f"max_images does not go with model {name}; data.max_s takes the beginning of a clip")
        Devices.for_batch(config.mesh, 1)  # chunks of a clip follow each other
        parts = load_parts(data, name, model, "evaluated")
        length, held_out = len(parts.ids), parts.held_out
        if parts.num_train < 1:
            raise UsageError(f"data.held_out_s {data.held_out_s:g} is all of the clip of {length} samples, or more")
        before = config.part == "train"
        chunks = parts.train(min(_CHUNK, length)) if before else parts.evaluated(min(_CHUNK, length))
        count = parts.num_train if before else held_out or length
        samples, clip = parts.words
        which = f"{'first' if before else 'last'} {count} {samples} of the {clip}" if held_out else clip
        return Evaluation(
            metrics=cls.metrics,
            num_examples=count,
            unit=samples,
            words=f"{('training ' if before else 'held-out ') if held_out else ''}{samples} of {clip_name(data)}",
            data=data.model_dump(),
            scores=_scores(model, chunks),
            independent=False,
            record={"evaluated_on": which},
        )

    def order(self, key: Array) -> Int[Array, " N"]:
        """The chunks as they follow each other."""
        return jnp.arange(self.num_examples)

    def begin_epoch(self, model: Any) -> Any:
        """The network's cache of the empty prefix."""
        return model.fold().init_cache(1, jnp.int32)

    def loss(self, model: Any, carry: Any, batch: Chunks, key: Array) -> tuple[Float[Array, " B"], Any]:
        """The mean over the chunk's samples, and the cache behind it.

        What is disturbed is what the network reads, not what it is asked for.
        """
        x = batch.ids.T
        read = x if self._jitter is None else jittered(x, key, self._jitter, self._num_classes)
        logits, cache = _conditionals(model.fold(), read, carry, batch.start[0])
        losses = jnp.where(batch.counted.T, -model.head.log_prob(logits, x), 0.0)
        return jnp.sum(losses, axis=0) / jnp.sum(batch.counted, axis=1), cache

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """The mean cross-entropy of the samples that count, and how often the likeliest class is right."""
        values = by_example(_scores(model, self.held_out), self.metrics, int(jnp.sum(self.held_out.counted)))
        return {name: float(each.mean()) for name, each in values.items()}

    def record(self) -> dict[str, Any]:
        """The samples that the metrics are of."""
        return {"evaluated_on": self._evaluated_on}

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """Sound, or text, that the model makes of the clip's beginning."""
        return self._continuation.generate(model, key, suffix)


def jittered(x: Int[Array, "S B"], key: Array, jitter: JitterConfig, num_classes: int) -> Int[Array, "S B"]:
    """Class ids of which some are moved by up to ``jitter.classes`` up or down, within those that there are."""
    which_key, move_key = jax.random.split(key)
    moved = jax.random.bernoulli(which_key, jitter.probability, x.shape)
    by = jax.random.randint(move_key, x.shape, -jitter.classes, jitter.classes + 1)
    return jnp.clip(x + jnp.where(moved, by, 0), 0, num_classes - 1).astype(x.dtype)


def _scores(model: Any, chunks: Chunks) -> Iterator[Scores]:
    """The metrics of the samples that count, chunk by chunk."""
    network = fold(model)
    cache, done = network.init_cache(1, jnp.int32), 0
    for i in range(len(chunks.ids)):
        chunk = jax.tree.map(lambda a, i=i: a[i], chunks)
        cache, logs, right = _judged(model, network, cache, chunk)
        counted = np.asarray(chunk.counted)
        examples = np.arange(done, done := done + int(counted.sum()))
        values = {SAMPLE_CROSS_ENTROPY.key: -np.asarray(logs)[counted], ACCURACY.key: np.asarray(right)[counted]}
        yield Scores(examples, values)


@jax.jit
def _judged(model: Any, network: Any, cache: Any, chunk: Chunks) -> tuple[Any, Float[Array, " S"], Bool[Array, " S"]]:
    """The cache behind a chunk, its samples' log-likelihoods, and whether they are the likeliest class."""
    x = chunk.ids[:, None]
    logits, cache = _conditionals(network, x, cache, chunk.start)
    return cache, model.head.log_prob(logits, x)[:, 0], jnp.argmax(logits[:, 0], axis=-1) == chunk.ids


def _conditionals(
    network: Any, read: Int[Array, "S B"], cache: Any, start: Int[Array, ""]
) -> tuple[Float[Array, "S B K"], Any]:
    """The parameters for a chunk of which the network reads ``read``, and the cache behind it."""
    size = read.shape[0]
    logits, cache = network.conditionals(read, cache, start, size, size)
    return logits, network.record(read, cache, start, size)
