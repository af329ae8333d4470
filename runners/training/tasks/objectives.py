"""What a language model is trained for: the likelihood of a text, or also to be solved in few of Jacobi's steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
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

    def check_length(self, length: int) -> None:
        """Raise ValueError where texts may be too short, which have so many characters or more."""

    def loss(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> Float[Array, " B"]:
        """The loss of each text."""

    def metrics_of(
        self, model: TextModel, x: Int[Array, "T B"], cross_entropy: float, key: Array
    ) -> Mapping[str, float]:
        """The metrics that only this objective has, by key; ``cross_entropy`` is that of all held-out characters."""


@dataclass(frozen=True)
class Likelihood:
    """Minus the log-likelihood of a character, in nats: the mean over the text. Satisfies Objective."""

    metrics = (CHARACTER_CROSS_ENTROPY, ACCURACY)
    selection_metric = CHARACTER_CROSS_ENTROPY

    def check_length(self, length: int) -> None:
        """Any length will do."""

    def loss(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> Float[Array, " B"]:
        """The mean over the characters of each text."""
        logits, _ = read(model, x)
        return _cross_entropy(model, logits, x)

    def metrics_of(
        self, model: TextModel, x: Int[Array, "T B"], cross_entropy: float, key: Array
    ) -> Mapping[str, float]:
        """None."""
        return {}


class _Windows(NamedTuple):
    """Windows at one place of some texts: the model's own continuation, and guesses at it."""

    answer: Int[Array, "W B"]  # the greedy continuation, which is the fixed point of Jacobi's iteration
    guesses: Int[Array, "W B"]  # a state on the way to it
    logits: Float[Array, "W B K"]  # that the model has at the guesses


@dataclass(frozen=True)
class Consistency:
    """The likelihood, and how well states on Jacobi's way tell where it ends. Satisfies Objective.

    At random places of a text the model goes on by itself for a window of characters, by the likeliest ones: y. From
    the solver's first guess so many of Jacobi's steps as chance says lead to a state, of which the first f characters
    are y's. The loss is the cross-entropy of the characters of y from f on under the model's distributions at that
    state, each of which counts 0.9 times as much as the one before; y and the state are taken as given.

    Kou et al., "CLLMs: Consistency large language models", ICML 2024 (arXiv 2403.00835), which has all characters
    count alike.
    """

    window: int = 32  # characters
    num_windows: int = 4  # of each text in each step
    max_steps: int = 8  # of Jacobi's iteration before a state is read
    weight: float = 1.0  # of this loss beside the likelihood's

    metrics = (OBJECTIVE, CHARACTER_CROSS_ENTROPY, ACCURACY, CHARACTERS_A_STEP)
    selection_metric = OBJECTIVE

    def __post_init__(self) -> None:
        for name in ("window", "num_windows", "max_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0.0 < self.weight < float("inf"):
            raise ValueError(f"weight must be a positive finite number, not {self.weight}")

    def check_length(self, length: int) -> None:
        """Raise ValueError where a text does not hold a window and a character before it."""
        if self.window >= length:
            raise ValueError(f"window must be less than the {length} characters of a text, not {self.window}")

    def loss(self, model: TextModel, x: Int[Array, "T B"], key: Array) -> Float[Array, " B"]:
        """The loss of each text, whose characters are read once for both parts of it."""
        logits, prefix = read(model, x)
        windows = jax.vmap(lambda key: self.window_at(model, x, prefix, key))(jax.random.split(key, self.num_windows))
        own = jnp.mean(jax.vmap(_behind)(windows), axis=0)
        return _cross_entropy(model, logits, x) + self.weight * own

    def metrics_of(
        self, model: TextModel, x: Int[Array, "T B"], cross_entropy: float, key: Array
    ) -> Mapping[str, float]:
        """The whole loss, and the characters that a Jacobi step finds in windows of the model's continuations."""
        own, steps = _judged(self, model, x, key)
        return {
            OBJECTIVE.key: cross_entropy + self.weight * float(own),
            CHARACTERS_A_STEP.key: self.window / float(steps),
        }

    def window_at(self, model: TextModel, x: Int[Array, "T B"], prefix: Any, key: Array) -> _Windows:
        """A window at a random place, and a state on the way to its answer."""
        place, count = jax.random.split(key)
        network, start = model.fold(x.shape[0]), self._start(x, place)
        cache = network.record(x, prefix, 0, start)
        step, guess, answer = self._equations(model, x, cache, start)
        number = jax.random.randint(count, (), 0, self.max_steps)
        guesses = lax.fori_loop(0, number, lambda _, guess: step(guess), guess)
        logits, _ = network.conditionals(guesses, cache, start, self.window, self.window)
        return _Windows(answer, guesses, logits)

    def _start(self, x: Int[Array, "T B"], key: Array) -> Int[Array, ""]:
        """A random place of a window."""
        last = x.shape[0] - self.window
        return jax.random.randint(key, (), min(_TOLD, last), last + 1)

    def _equations(self, model: TextModel, x: Int[Array, "T B"], cache: Any, start: Int[Array, ""]) -> Any:
        """Jacobi's step in a window, its first guess, and its fixed point; nothing is learnt from them."""
        network, cache = lax.stop_gradient((model.fold(x.shape[0]), cache))
        noise = model.greedy.draw_noise(jax.random.key(0), *x.shape)
        system = AutoregressiveSystem(network, model.greedy, noise)
        answer, _ = system.forward_substitution(cache, start, self.window)
        guess = system.initial_guess()[: self.window]
        return lambda guess: system.update(guess, cache, start, self.window)[0], guess, answer

    def steps(self, model: TextModel, x: Int[Array, "T B"], prefix: Any, key: Array) -> Int[Array, " B"]:
        """The number of steps after which Jacobi knows that a window is right, for each text."""
        start = self._start(x, key)
        cache = model.fold(x.shape[0]).record(x, prefix, 0, start)
        step, guess, answer = self._equations(model, x, cache, start)

        def body(guess: Int[Array, "W B"], _: None) -> tuple[Int[Array, "W B"], Bool[Array, " B"]]:
            return step(guess), jnp.any(guess[:-1] != answer[:-1], axis=0)

        _, wrong = lax.scan(body, guess, length=self.window)
        return 1 + jnp.sum(wrong, axis=0)


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


def _cross_entropy(model: TextModel, logits: Float[Array, "T B K"], x: Int[Array, "T B"]) -> Float[Array, " B"]:
    return -jnp.mean(model.head.log_prob(logits, x), axis=0)


def _behind(window: _Windows) -> Float[Array, " B"]:
    """The mean cross-entropy of the answers from the first wrong guess on, each less than the one before."""
    right = jnp.cumprod(window.guesses == window.answer, axis=0)
    place = jnp.cumsum(1 - right, axis=0)  # from 1 at the first wrong guess; 0 before it
    shares = jnp.where(place > 0, _DISCOUNT**place, 0.0)
    losses = optax.softmax_cross_entropy_with_integer_labels(window.logits, window.answer)
    return jnp.sum(shares * losses, axis=0) / jnp.maximum(jnp.sum(shares, axis=0), _DISCOUNT)


@partial(jax.jit, static_argnames="objective")
def _judged(
    objective: Consistency, model: TextModel, x: Int[Array, "T B"], key: Array
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The loss in windows alone, and the steps that a window takes: means over texts and windows."""
    _, prefix = read(model, x)
    keys = jax.random.split(key, objective.num_windows)
    own = jax.vmap(lambda key: _behind(objective.window_at(model, x, prefix, key)))(keys)
    steps = jax.vmap(lambda key: objective.steps(model, x, prefix, key))(keys)
    return jnp.mean(own), jnp.mean(steps)
