"""What a language model is trained for: the likelihood of a text, or also to be solved in few of Jacobi's steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from common.table import Table
from models.capabilities import TextModel
from runners.training.metrics import (
    ACCURACY,
    CHARACTER_CROSS_ENTROPY,
    CHARACTERS_A_STEP,
    OBJECTIVE,
    Metric,
)
from solvers.systems.autoregressive import AutoregressiveSystem, CausalNetwork

_DISCOUNT = 0.9  # what a character counts less than the one before it: it is of use where all before it are right
_TOLD = 16  # characters, at least, that are given before a window


class Objective(Protocol):
    """A loss of texts."""

    metrics: Sequence[Metric]  # the first is that of the loss
    selection_metric: Metric

    def __init__(self, model: TextModel, length: int) -> None:
        """``model`` has its first weights, and texts have so many characters or more; and options, by name.

        Raises ValueError where they do not go together.
        """

    def loss(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> Float[Array, " B"]:
        """The loss of each text."""

    def metrics_of(
        self, model: TextModel, x: Int[Array, "T B"], cross_entropy: float, key: Array
    ) -> Mapping[str, float]:
        """The metrics that only this objective has, by key; ``cross_entropy`` is that of all held-out characters."""


class Likelihood:
    """Minus the log-likelihood of a character, in nats: the mean over the text. Satisfies Objective."""

    metrics = (CHARACTER_CROSS_ENTROPY, ACCURACY)
    selection_metric = CHARACTER_CROSS_ENTROPY

    def __init__(self, model: TextModel, length: int) -> None:
        """Any model and any length will do."""

    def loss(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> Float[Array, " B"]:
        """The mean over the characters of each text."""
        logits, _ = read(model, x)
        return _cross_entropy(model, logits, x)

    def metrics_of(
        self, model: TextModel, x: Int[Array, "T B"], cross_entropy: float, key: Array
    ) -> Mapping[str, float]:
        """None."""
        return {}


class Window(NamedTuple):
    """A window of some texts: how the first weights go on, and guesses at it by the weights now."""

    answer: Int[Array, "W B"]  # the likeliest continuation
    told: Float[Array, "W B K"]  # the logits of the first weights along it
    guesses: Int[Array, "W B"]  # a state on Jacobi's way
    logits: Float[Array, "W B K"]  # of the weights now, at the guesses


class Consistency:
    """The likelihood, and how well states on Jacobi's way tell where it ends. Satisfies Objective.

    At random places of a text the model goes on with its first weights for a window of characters, by the likeliest
    ones: y. With the weights now, so many of Jacobi's steps as chance says lead from the solver's first guess to a
    state, of which the first f characters are y's. The loss is a cross-entropy under the distributions at that state:
    up to character f, for which all that it reads is right, with those of the first weights, so that the text stays
    what it was; behind it with the characters of y, each of which counts 0.9 times as much as the one before.

    That y comes from weights which stay keeps it from becoming what is easiest to foretell, such as blanks.

    Kou et al., "CLLMs: Consistency large language models", ICML 2024 (arXiv 2403.00835), whose states are those of the
    first weights too, and whose characters all count alike.
    """

    metrics = (OBJECTIVE, CHARACTER_CROSS_ENTROPY, ACCURACY, CHARACTERS_A_STEP)
    selection_metric = OBJECTIVE

    def __init__(
        self,
        model: TextModel,
        length: int,
        *,
        window: int = 32,
        num_windows: int = 4,
        max_steps: int = 8,
        weight: float = 1.0,
    ) -> None:
        """Keep the first weights.

        Args:
            model: the model, with its first weights.
            length: the least number of characters of a text.
            window: characters that the model foretells together.
            num_windows: of each text in each step.
            max_steps: of Jacobi's iteration before the model is asked, with which there are as many states to begin at.
            weight: of this loss beside the likelihood's.
        """
        if window >= length:
            raise ValueError(f"window must be less than the {length} characters of a text, not {window}")
        self.window, self.num_windows, self.max_steps, self.weight = window, num_windows, max_steps, weight
        self._first = nnx.clone(model)
        self._judged = jax.jit(self._judge)

    def loss(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> Float[Array, " B"]:
        """The loss of each text, whose characters are read once for both parts of it."""
        logits, prefix = read(model, x)
        return _cross_entropy(model, logits, x) + self.weight * self._own(model, x, prefix, key)

    def metrics_of(
        self, model: TextModel, x: Int[Array, "T B"], cross_entropy: float, key: Array
    ) -> Mapping[str, float]:
        """The whole loss, and the characters that a Jacobi step finds in windows of the model's own continuations."""
        own, steps = self._judged(model, x, key)
        return {
            OBJECTIVE.key: cross_entropy + self.weight * float(own),
            CHARACTERS_A_STEP.key: self.window / float(steps),
        }

    def window_at(
        self, model: TextModel, x: Int[Array, "T B"], prefix: Any, first_prefix: Any, start: Int[Array, ""], key: Array
    ) -> Window:
        """The window behind the first ``start`` characters, and a state; the prefixes are caches behind all of x."""
        first = _Continuation.of(self._first, x, first_prefix, start)
        answer = first.answer(self.window)
        told, _ = first.network.conditionals(answer, first.cache, start, self.window, self.window)
        now = _Continuation.of(model, x, prefix, start)
        number = jax.random.randint(key, (), 0, self.max_steps)
        guesses = lax.fori_loop(0, number, lambda _, guess: now.step(guess), now.guess(self.window))
        logits, _ = now.network.conditionals(guesses, now.cache, start, self.window, self.window)
        return Window(answer, told, guesses, logits)

    def steps(self, model: TextModel, x: Int[Array, "T B"], prefix: Any, start: Int[Array, ""]) -> Int[Array, " B"]:
        """The number of steps after which Jacobi knows that a window of the model's own is right, for each text."""
        now = _Continuation.of(model, x, prefix, start)
        answer = now.answer(self.window)

        def body(guess: Int[Array, "W B"], _: None) -> tuple[Int[Array, "W B"], Bool[Array, " B"]]:
            return now.step(guess), jnp.any(guess[:-1] != answer[:-1], axis=0)

        _, wrong = lax.scan(body, now.guess(self.window), length=self.window)
        return 1 + jnp.sum(wrong, axis=0)

    def _own(self, model: TextModel, x: Int[Array, "T B"], prefix: Any, key: Array) -> Float[Array, " B"]:
        """The loss in windows alone: the mean over some."""
        _, first_prefix = read(self._first, x)
        keys = jax.random.split(key, self.num_windows)
        losses = jax.vmap(
            lambda start, key: behind(self.window_at(model, x, prefix, first_prefix, start, key)),
        )(self._starts(x, key), keys)
        return jnp.mean(losses, axis=0)

    def _starts(self, x: Int[Array, "T B"], key: Array) -> Int[Array, " N"]:
        """Random places of windows."""
        last = x.shape[0] - self.window
        return jax.random.randint(key, (self.num_windows,), min(_TOLD, last), last + 1)

    def _judge(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The loss in windows alone, and the steps that a window takes: means over texts and windows."""
        _, prefix = read(model, x)
        steps = jax.vmap(lambda start: self.steps(model, x, prefix, start))(self._starts(x, key))
        return jnp.mean(self._own(model, x, prefix, key)), jnp.mean(steps)


@dataclass(frozen=True)
class _Continuation:
    """How a model goes on behind the beginning of texts, by the likeliest characters."""

    network: CausalNetwork
    cache: Any
    start: Int[Array, ""]
    system: AutoregressiveSystem  # from which nothing is learnt
    known: Any

    @classmethod
    def of(cls, model: TextModel, x: Int[Array, "T B"], prefix: Any, start: Int[Array, ""]) -> _Continuation:
        """Behind the first ``start`` characters; ``prefix`` is the cache behind all of them."""
        network = model.fold(x.shape[0])
        cache = network.record(x, prefix, 0, start)
        still, known = lax.stop_gradient((network, cache))
        noise = model.greedy.draw_noise(jax.random.key(0), *x.shape)  # none: it tells the shape
        return cls(network, cache, start, AutoregressiveSystem(still, model.greedy, noise), known)

    def answer(self, size: int) -> Int[Array, "W B"]:
        """The likeliest characters, one after the other: the fixed point of Jacobi's iteration."""
        found: Int[Array, "W B"]
        found, _ = self.system.forward_substitution(self.known, self.start, size)
        return found

    def guess(self, size: int) -> Int[Array, "W B"]:
        """What solvers begin with."""
        first: Int[Array, "W B"] = self.system.initial_guess()[:size]
        return first

    def step(self, guess: Int[Array, "W B"]) -> Int[Array, "W B"]:
        """One of Jacobi's steps."""
        found: Int[Array, "W B"]
        found, _ = self.system.update(guess, self.known, self.start, len(guess))
        return found


OBJECTIVES: Table[type[Objective]] = Table(
    "objective",
    {
        "likelihood": "runners.training.tasks.objectives:Likelihood",
        "consistency": "runners.training.tasks.objectives:Consistency",
    },
)


def read(model: TextModel, x: Int[Array, "T B"]) -> tuple[Float[Array, "T B K"], Any]:
    """The logits of each character, and the cache behind all of them."""
    network: CausalNetwork = model.fold(x.shape[0])
    logits: Float[Array, "T B K"]
    logits, cache = network.conditionals(x, network.init_cache(x.shape[1], x.dtype), 0, x.shape[0], x.shape[0])
    return logits, cache


def behind(window: Window) -> Float[Array, " B"]:
    """The mean of the characters' losses: each counts less than the one before where it reads a wrong guess."""
    right = jnp.cumprod(window.guesses == window.answer, axis=0)
    wrong = jnp.concatenate([jnp.zeros_like(right[:1]), jnp.cumsum(1 - right, axis=0)[:-1]])  # guesses that are read
    kept = optax.softmax_cross_entropy(window.logits, jax.nn.softmax(window.told))
    foretold = optax.softmax_cross_entropy_with_integer_labels(window.logits, window.answer)
    shares = _DISCOUNT**wrong
    return jnp.sum(shares * jnp.where(wrong == 0, kept, foretold), axis=0) / jnp.sum(shares, axis=0)


def _cross_entropy(model: TextModel, logits: Float[Array, "T B K"], x: Int[Array, "T B"]) -> Float[Array, " B"]:
    return -jnp.mean(model.head.log_prob(logits, x), axis=0)
