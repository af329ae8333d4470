"""What a language model is trained for: the likelihood of a text, or also to be solved in few of Jacobi's steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from models.capabilities import TextModel
from runners.config.schema import UsageError
from runners.training.metrics import (
    ACCURACY,
    CHARACTER_CROSS_ENTROPY,
    CHARACTERS_A_STEP,
    OBJECTIVE,
    Metric,
)
from solvers.systems.autoregressive import AutoregressiveSystem, CausalNetwork
from solvers.trees.blocks import Start
from solvers.trees.pytree import pytree

_DISCOUNT = 0.7  # what a character counts less than the one before it: it is of use where all before it are right
_PLACES = 4  # of windows in a held-out evaluation, each by chance
_TOLD = 16  # characters that are given before a window, where texts are long enough: to go on from a few is to guess


class Objective(Protocol):
    """A loss of texts."""

    metrics: Sequence[Metric]  # the first is that of the loss
    selection_metric: Metric

    def __init__(self, model: TextModel, length: int) -> None:
        """``model`` has its first weights, and texts have so many characters or more; and options, by name.

        Raises UsageError where they do not go together.
        """

    def loss(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> Float[Array, " B"]:
        """The loss of each text."""

    def metrics_of(
        self, model: TextModel, x: Int[Array, "T B"], cross_entropy: float, key: Array
    ) -> Mapping[str, float]:
        """The metrics that only this objective has, by key; ``cross_entropy`` is that of all held-out characters."""


class Likelihood:
    """Minus the log-likelihood of a character, in nats: the mean over the text. Satisfies Objective."""

    metrics: Sequence[Metric] = (CHARACTER_CROSS_ENTROPY, ACCURACY)
    selection_metric = CHARACTER_CROSS_ENTROPY

    def __init__(self, model: TextModel, length: int) -> None:
        """Any model and any length will do."""

    def loss(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> Float[Array, " B"]:
        """The mean over the characters of each text."""
        return _cross_entropy(model, logits_of(model, x), x)

    def metrics_of(
        self, model: TextModel, x: Int[Array, "T B"], cross_entropy: float, key: Array
    ) -> Mapping[str, float]:
        """None."""
        return {}


class Window(NamedTuple):
    """A window of some texts: how the first weights go on, and guesses at it by the weights now."""

    answer: Int[Array, "W B"]  # the likeliest continuation by the first weights
    told: Float[Array, "W B K"]  # their logits along it
    guesses: Int[Array, "W B"]  # a state of Jacobi's iteration by the weights now
    logits: Float[Array, "W B K"]  # of the weights now, at the guesses


class Consistency:
    """The likelihood, and how well Jacobi's guesses tell what the first weights would write. Satisfies Objective.

    At a random place of a text the model goes on with the weights that the training began with, by the likeliest
    characters, for some windows, each behind the one before. In a window of characters y, as many of Jacobi's steps
    with the weights now as chance says lead from the solver's first guess to a state, of which the first f characters
    are y's. The distributions that the weights now have at that state are held against those of the first weights up to
    character f, for which all that is read is right (Kullback-Leibler divergence: the text is to stay what it was), and
    behind it against the characters of y (cross-entropy), of which each counts 0.7 times as much as the one before: it
    is of use only where all before it are right.

    Were y the own continuation of the weights now, it could become what is easiest to foretell, such as blanks.
    All texts of a step share the place of their windows and the numbers of steps.

    After Kou et al., "CLLMs: Consistency large language models", ICML 2024 (arXiv 2403.00835). There answers and states
    are those of the first weights, distributions are held against those at the answer, all characters count alike, and
    the likelihood is that of the answers; here it is the text's.
    """

    metrics: Sequence[Metric] = (OBJECTIVE, CHARACTER_CROSS_ENTROPY, ACCURACY, CHARACTERS_A_STEP)
    selection_metric = OBJECTIVE

    def __init__(
        self, model: TextModel, length: int, *, window: int, num_windows: int, max_steps: int, weight: float
    ) -> None:
        """Keep the first weights.

        Args:
            model: the model, with its first weights.
            length: the least number of characters of a text.
            window: characters that the model foretells together.
            num_windows: of each text in each step, one behind the other.
            max_steps: the most of Jacobi's steps before the model is asked.
            weight: of this loss beside the likelihood's.

        Raises UsageError where the windows are as long as a text.
        """
        if window * num_windows >= length:
            raise UsageError(
                f"objective: {num_windows} windows of {window} (num_windows, window) are not less than {length}, the "
                "number of characters of a text (the model's context, or the part that is held out if that is shorter)"
            )
        self.window, self.num_windows, self.max_steps, self.weight = window, num_windows, max_steps, weight
        self._first = nnx.clone(model)
        self._judged = jax.jit(self._judge)

    def loss(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> Float[Array, " B"]:
        """The loss of each text, whose characters are read once for both parts of it."""
        logits, windows = self.windows_at(model, x, *self._drawn(x, model, key))
        return _cross_entropy(model, logits, x) + self.weight * jnp.mean(jax.vmap(behind)(windows), axis=0)

    def metrics_of(
        self, model: TextModel, x: Int[Array, "T B"], cross_entropy: float, key: Array
    ) -> Mapping[str, float]:
        """The whole loss, and the characters that a Jacobi step finds in windows of the model's own continuations.

        Windows are behind some places, drawn from ``key``, of each text.
        """
        own, steps = self._judged(model, x, jax.random.split(key, _PLACES))
        return {
            OBJECTIVE.key: cross_entropy + self.weight * float(own),
            CHARACTERS_A_STEP.key: self.window / float(steps),
        }

    def windows_at(
        self, model: TextModel, x: Int[Array, "T B"], start: Int[Array, ""], numbers: Int[Array, " N"]
    ) -> tuple[Float[Array, "T B K"], Window]:
        """The logits of all of x, and the windows behind its first ``start`` characters, each after so many steps."""
        _, first = _Continuation.of(self._first, x, start)
        logits, now = _Continuation.of(model, x, start)

        def window(
            carry: tuple[_Continuation, _Continuation], number: Int[Array, ""]
        ) -> tuple[tuple[_Continuation, _Continuation], Window]:
            first, now = carry
            answer = first.answer(self.window)
            guesses = lax.fori_loop(0, number, lambda _, guess: now.step(guess), now.guess(self.window))
            told, first = first.read(answer)
            _, after = now.read(answer)
            return (first, after), Window(answer, told, guesses, now.read(guesses)[0])

        _, windows = lax.scan(window, (first, now), numbers)
        return logits, windows

    def steps(self, model: TextModel, x: Int[Array, "T B"], start: Int[Array, ""]) -> Int[Array, "N B"]:
        """The number of steps after which Jacobi knows that a window of the model's own text is right."""

        def window(now: _Continuation, _: None) -> tuple[_Continuation, Int[Array, " B"]]:
            answer = now.answer(self.window)

            def body(guess: Int[Array, "W B"], _: None) -> tuple[Int[Array, "W B"], Bool[Array, " B"]]:
                return now.step(guess), jnp.any(guess[:-1] != answer[:-1], axis=0)

            ends = lax.scan(body, now.guess(self.window), length=self.window)
            return now.read(answer)[1], 1 + jnp.sum(ends[1], axis=0)

        found: Int[Array, "N B"]
        _, found = lax.scan(window, _Continuation.of(model, x, start)[1], length=self.num_windows)
        return found

    def _drawn(self, x: Int[Array, "T B"], model: TextModel, key: Array) -> tuple[Int[Array, ""], Int[Array, " N"]]:
        """A random place of the first window, and numbers of steps."""
        place_key, number_key = jax.random.split(key)
        unit, last = model.fold(x.shape[0]).block_unit, x.shape[0] - self.window * self.num_windows
        start = unit * jax.random.randint(place_key, (), min(-(-_TOLD // unit), last // unit), last // unit + 1)
        return start, jax.random.randint(number_key, (self.num_windows,), 0, self.max_steps + 1)

    def _judge(self, model: TextModel, x: Int[Array, "T B"], keys: Array) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The loss in windows alone, and the steps that they take: means over places, texts and windows."""

        def at_a_place(key: Array) -> tuple[Float[Array, ""], Float[Array, ""]]:
            start, numbers = self._drawn(x, model, key)
            _, windows = self.windows_at(model, x, start, numbers)
            return jnp.mean(jax.vmap(behind)(windows)), jnp.mean(self.steps(model, x, start))

        own, steps = lax.map(at_a_place, keys)
        return jnp.mean(own), jnp.mean(steps)


@pytree
@dataclass(frozen=True)
class _Continuation:
    """How a model goes on behind the beginning of texts, by the likeliest characters."""

    network: Any  # a CausalNetwork
    system: AutoregressiveSystem  # its equations, from which nothing is learnt
    cache: Any
    start: Int[Array, ""]

    @classmethod
    def of(
        cls, model: TextModel, x: Int[Array, "T B"], start: Int[Array, ""]
    ) -> tuple[Float[Array, "T B K"], _Continuation]:
        """The logits of all of x, and what goes on behind its first ``start`` characters."""
        logits, cache = _read(model, x, start)
        network = model.fold(x.shape[0])
        noise = model.greedy.draw_noise(jax.random.key(0), *x.shape)  # none: it tells the shape
        system = AutoregressiveSystem(lax.stop_gradient(network), model.greedy, noise)
        return logits, cls(network, system, network.record(x, cache, 0, start), start)

    def answer(self, size: int) -> Int[Array, "W B"]:
        """The likeliest characters, one after the other: the fixed point of Jacobi's iteration."""
        found: Int[Array, "W B"]
        found, _ = self.system.forward_substitution(lax.stop_gradient(self.cache), self.start, size)
        return found

    def guess(self, size: int) -> Int[Array, "W B"]:
        """What solvers begin with."""
        first: Int[Array, "W B"] = self.system.initial_guess()[:size]
        return first

    def step(self, guess: Int[Array, "W B"]) -> Int[Array, "W B"]:
        """One of Jacobi's steps."""
        found: Int[Array, "W B"]
        found, _ = self.system.slide(guess, lax.stop_gradient(self.cache), self.start, len(guess), 0)
        return found

    def read(self, x: Int[Array, "W B"]) -> tuple[Float[Array, "W B K"], _Continuation]:
        """The logits at a state, and what goes on behind it."""
        logits, cache = self.network.conditionals(x, self.cache, self.start, len(x), len(x))
        cache = self.network.record(x, cache, self.start, len(x))
        return logits, dataclasses.replace(self, cache=cache, start=self.start + len(x))


OBJECTIVES: dict[str, type[Likelihood] | type[Consistency]] = {"likelihood": Likelihood, "consistency": Consistency}


def logits_of(model: TextModel, x: Int[Array, "T B"]) -> Float[Array, "T B K"]:
    """The logits of each character."""
    return _read(model, x, x.shape[0])[0]


def _read(model: TextModel, x: Int[Array, "T B"], keep: Start) -> tuple[Float[Array, "T B K"], Any]:
    """The logits of each character, and a cache with the features of the first ``keep`` of them."""
    network: CausalNetwork = model.fold(x.shape[0])
    logits: Float[Array, "T B K"]
    logits, cache = network.conditionals(x, network.init_cache(x.shape[1], x.dtype), 0, x.shape[0], keep)
    return logits, cache


def behind(window: Window) -> Float[Array, " B"]:
    """The mean loss of the characters that read what is right, and that of the others, which count less and less."""
    right = jnp.cumprod(window.guesses == window.answer, axis=0)
    distance = jnp.concatenate([jnp.zeros_like(right[:1]), jnp.cumsum(1 - right, axis=0)[:-1]])
    kept = optax.kl_divergence(jax.nn.log_softmax(window.logits), jax.nn.softmax(window.told))
    foretold = optax.softmax_cross_entropy_with_integer_labels(window.logits, window.answer)
    exact = distance == 0  # at least the first character
    shares = jnp.where(exact, 0.0, _DISCOUNT**distance)
    others = jnp.sum(shares * foretold, axis=0) / jnp.maximum(jnp.sum(shares, axis=0), _DISCOUNT)
    return jnp.mean(kept, axis=0, where=exact) + others


def _cross_entropy(model: TextModel, logits: Float[Array, "T B K"], x: Int[Array, "T B"]) -> Float[Array, " B"]:
    return -jnp.mean(model.head.log_prob(logits, x), axis=0)
