"""Train one recurrent classifier by one solver of its forward pass, everything else being the same for all solvers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
from jaxtyping import Array, Float, Int

from models.rnn.network import RNNNetwork
from models.rnn.systems import ForwardRNN
from runners.config.solvers import SolverEntry
from runners.experiment import RunFailure
from runners.measure.devices import Devices
from runners.measure.timing import Times
from runners.rnn.classifier.config import RNNClassifierConfig
from solvers import Solution, Status, solve


class LabelledRows(NamedTuple):
    """Images as sequences of their rows, and their classes."""

    rows: Float[Array, "T N I"]
    classes: Int[Array, " N"]

    @classmethod
    def of(cls, images: np.ndarray, classes: np.ndarray) -> LabelledRows:
        """Images (N, H, W, C) as sequences of their H rows, from 0 to 1."""
        pixels = jnp.asarray(images, jnp.float32).reshape(*images.shape[:2], -1) / 255.0
        return cls(jnp.moveaxis(pixels, 1, 0), jnp.asarray(classes))


class RNNClassifierTask(NamedTuple):
    """What all solvers share: how is trained, first weights and images."""

    config: RNNClassifierConfig
    first: RNNNetwork
    train: LabelledRows
    held_out: LabelledRows
    devices: Devices


@dataclass(frozen=True)
class ClassifierTraining:
    """One solver's training."""

    label: str
    entry: SolverEntry
    compile_s: float
    step_s: Times
    solver_steps: float  # mean number of sequential network evaluations in a forward pass
    losses: Float[np.ndarray, " steps"]  # nats
    accuracy: list[float]  # held out, after each epoch


class StepOutcome(NamedTuple):
    """A training step: the loss before it, and how its forward pass was solved."""

    loss: Float[Array, ""]
    status: Int[Array, ""]
    num_steps: Int[Array, ""]


def train_classifier(
    task: RNNClassifierTask, entry: SolverEntry, label: str, say: Callable[[str], None]
) -> ClassifierTraining:
    """Train by a solver; ``say`` is told of every epoch. Raises RunFailure where a solve or a loss fails."""
    optimizer, size, epochs = optax.adam(task.config.learning_rate), task.config.batch_size, task.config.epochs
    params, state, train, held_out = task.devices.whole(
        (task.first, optimizer.init(task.first), task.train, task.held_out)
    )
    begin = time.perf_counter()
    step = task.devices.replicating(partial(_step, entry, optimizer, task.devices))
    compiled = step.lower(params, state, train, np.arange(size)).compile()
    compile_s = time.perf_counter() - begin
    evaluate, order = jax.jit(partial(_accuracy, entry)), np.random.default_rng(task.config.seed)
    taken: list[tuple[float, int, float]] = []  # loss, sequential network evaluations, and seconds of each step
    accuracy: list[float] = []
    for epoch in range(epochs):
        say(f"{label}: epoch {epoch + 1} of {epochs}")
        shuffled = order.permutation(len(task.train.classes))
        for batch in shuffled[: len(shuffled) // size * size].reshape(-1, size):  # the rest is left to other epochs
            begin = time.perf_counter()
            params, state, outcome = jax.block_until_ready(compiled(params, state, train, batch))
            took = time.perf_counter() - begin
            _check(entry, outcome, f"{label}: training step {len(taken) + 1}")
            taken.append((float(outcome.loss), int(outcome.num_steps), took))
        accuracy.append(float(evaluate(params, held_out)))
    losses, depths, seconds = map(np.array, zip(*taken, strict=True))
    return ClassifierTraining(
        label, entry, compile_s, Times.of(seconds.tolist()), float(np.mean(depths)), losses, accuracy
    )


def _check(entry: SolverEntry, outcome: StepOutcome, where: str) -> None:
    status = entry.judged(Status(int(outcome.status)))
    if status.is_failure:
        raise RunFailure(f"{where}: {status.sentence}")
    if not np.isfinite(outcome.loss):
        raise RunFailure(f"{where}: The loss is not finite.")


def _step(
    entry: SolverEntry,
    optimizer: optax.GradientTransformation,
    devices: Devices,
    params: RNNNetwork,
    state: Any,
    train: LabelledRows,
    batch: Int[Array, " B"],
) -> tuple[RNNNetwork, Any, StepOutcome]:
    """One step of the optimizer on some of the images."""

    def loss(params: RNNNetwork) -> tuple[Array, Solution[Any]]:
        logits, solution = _logits(entry, params, devices.by_equation(train.rows[:, batch]))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, train.classes[batch])
        return jnp.mean(losses), solution

    (value, solution), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    updates, state = optimizer.update(gradient, state)
    outcome = StepOutcome(value, solution.status, solution.stats.num_steps)
    return optax.apply_updates(params, updates), state, outcome


def _accuracy(entry: SolverEntry, params: RNNNetwork, images: LabelledRows) -> Float[Array, ""]:
    """The share of images whose class is right."""
    return jnp.mean(jnp.argmax(_logits(entry, params, images.rows)[0], axis=-1) == images.classes)


def _logits(
    entry: SolverEntry, params: RNNNetwork, inputs: Float[Array, "T B I"]
) -> tuple[Float[Array, "B O"], Solution[Any]]:
    """The classifier's output and the solution that it was read from."""
    solution = solve(ForwardRNN.of(params.cell, inputs), entry.solver, max_steps=entry.max_steps, throw=False)
    return params.predict(jax.tree.map(lambda a: a[-1], solution.value)), solution
