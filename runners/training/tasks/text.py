"""Training a language model on a text, in windows of its context, with a text of its own to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from data.text.passages import Text, load_text
from data.text.topics import load_topics
from models.capabilities import TextModel, require
from runners.config.schema import UsageError, check_config
from runners.measure.devices import Devices
from runners.report.files import TextFile
from runners.training.config import EvaluateConfig, LanguageTrainConfig, TextConfig
from runners.training.metrics import ACCURACY, CHARACTER_CROSS_ENTROPY, HELD_OUT, Metric
from runners.training.task import Evaluation, ModelOutput, Scores, TrainTask, by_example
from runners.training.tasks.objectives import OBJECTIVES, Likelihood, Objective, logits_of
from solvers import CachedSequential, solve
from solvers.systems.autoregressive import AutoregressiveSystem

_AT_ONCE = 16  # windows that are evaluated together


class TextTask(TrainTask):
    """The objective that the config names, of the characters of a text. Satisfies TrainTask.

    An example is a window as long as the model's context, anew from another place of the text in every epoch.
    """

    capability = TextModel
    metrics: Sequence[Metric] = Likelihood.metrics
    selection_metric = Likelihood.selection_metric
    evaluated = HELD_OUT
    info_prefix = HELD_OUT.prefix

    def __init__(self, config: LanguageTrainConfig, model: Any) -> None:
        """Load the text. Raises UserError where it cannot be had, or is not as the model or the batches need it."""
        text = _load(config.data, config.model["name"], model)
        self._ids, self._held_out = (jnp.asarray(ids) for ids in _ids(text, model, config.model["name"]))
        self._size, self.batch_size = model.context, config.batch_size
        objective, length = config.objective, min(self._size, len(self._held_out))
        self._objective: Objective = OBJECTIVES[objective.name](model, length, **objective.options)
        self.metrics, self.selection_metric = self._objective.metrics, self._objective.selection_metric
        self.dataset = text.name
        self._last = len(self._ids) - self._size  # the last place at which a window may begin
        starts = np.arange(0, self._last + 1, self._size)
        self.train, self.num_examples = jnp.asarray(starts, jnp.int32), len(starts)
        if self.batch_size > self.num_examples:
            raise UsageError(
                f"batch_size {self.batch_size} is more than the {self.num_examples} windows of {self._size} characters "
                f"in the {len(self._ids)} to train on"
            )

    @classmethod
    def evaluation(cls, config: EvaluateConfig, name: str, model: Any) -> Evaluation:
        """The metrics of each character of a text's part. Raises UserError."""
        data = check_config(TextConfig, config.data, f"data for model {name}")
        if config.max_images is not None:
            raise UsageError(f"max_images does not go with model {name}")
        Devices.for_batch(config.mesh, 1)
        text = _load(data, name, model)
        held_out = config.part == "held_out"
        ids = _ids(text, model, name)[int(held_out)]
        return Evaluation(
            metrics=cls.metrics,
            num_examples=len(ids),
            unit="characters",
            words=f"{'held-out' if held_out else 'training'} characters of {text.name}",
            data=data.model_dump(),
            scores=_scores(model, jnp.asarray(ids)),
            independent=False,
        )

    def order(self, key: Array) -> Int[Array, " N"]:
        """All windows in a random order."""
        return jax.random.permutation(key, self.num_examples)

    def augmented(self, batch: Int[Array, " B"], key: Array) -> Int[Array, " B"]:
        """Windows that begin up to their length later, if the text goes on so far."""
        return jnp.minimum(batch + jax.random.randint(key, batch.shape, 0, self._size), self._last)

    def loss(self, model: Any, carry: Any, batch: Int[Array, " B"], key: Array) -> tuple[Float[Array, " B"], Any]:
        """The objective of each window."""
        return self._objective.loss(model, self._ids[batch + jnp.arange(self._size)[:, None]], key), carry

    def evaluate(self, model: Any, key: Array) -> dict[str, float]:
        """The metrics of all held-out characters, and those of the objective on some windows of them."""
        found = by_example(_scores(model, self._held_out), Likelihood.metrics, len(self._held_out))
        values = {name: float(each.mean()) for name, each in found.items()}
        size = min(self._size, len(self._held_out))
        starts = np.linspace(0, len(self._held_out) - size, _AT_ONCE).astype(int)
        x = self._held_out[starts + np.arange(size)[:, None]]
        return {**values, **self._objective.metrics_of(model, x, values[CHARACTER_CROSS_ENTROPY.key], key)}

    def output(self, model: Any, key: Array, suffix: str = "") -> ModelOutput:
        """Texts that the model writes from nothing: by the likeliest characters, and drawn."""
        length = model.context
        made = {
            name: model.decode(_written(model, head, head.draw_noise(key, length, 1))[:, 0])
            for name, head in {"generated": model.greedy, "sampled": model.head}.items()
        }
        files = [TextFile(f"{name}{suffix}.txt", text.encode()) for name, text in made.items()]
        return ModelOutput({name: {"num_characters": length} for name in made}, files)


def _load(data: TextConfig, name: str, model: Any) -> Text:
    """The text. Raises DatasetError, or CapabilityError where the model writes none."""
    require(model, TextModel, f"model {name}")
    return (
        load_topics(held_out=data.held_out)
        if data.name == "topics"
        else load_text(file=data.file, held_out=data.held_out)
    )


def _ids(text: Text, model: Any, name: str) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " M"]]:
    """The class ids of both parts of a text. Raises UsageError where the model does not know a character."""
    try:
        train, held_out = (model.encode(part.tobytes().decode("utf-8")) for part in (text.train, text.held_out))
    except ValueError as error:
        raise UsageError(f"the text {text.name} is not one for model {name}: {error}") from None
    return train, held_out


def _scores(model: Any, ids: Int[Array, " N"]) -> Iterator[Scores]:
    """The metrics of all characters, in windows that follow each other, each read from its beginning."""
    size = model.context
    count = -(-len(ids) // size)
    windows = np.pad(np.asarray(ids), (0, count * size - len(ids))).reshape(count, size)
    for first in range(0, count, _AT_ONCE):
        rows = np.minimum(np.arange(first, first + _AT_ONCE), count - 1)
        logs, right = (np.asarray(a).T for a in _judged(model, jnp.asarray(windows[rows].T)))
        places = (rows[:, None] * size + np.arange(size))[: count - first]
        inside = places < len(ids)
        here = slice(0, len(places))
        yield Scores(
            places[inside],
            {CHARACTER_CROSS_ENTROPY.key: -logs[here][inside], ACCURACY.key: right[here][inside]},
        )


@jax.jit
def _judged(model: Any, x: Int[Array, "T B"]) -> tuple[Float[Array, "T B"], Bool[Array, "T B"]]:
    """The log-likelihood of each character, and whether it is the likeliest."""
    logits = logits_of(model, x)
    return model.head.log_prob(logits, x), jnp.argmax(logits, axis=-1) == x


_written = jax.jit(
    lambda model, head, noise: solve(AutoregressiveSystem(model.fold(), head, noise), CachedSequential()).value,
    static_argnames="head",
)
