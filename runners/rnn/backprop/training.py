"""Train one RNN by several ways to do its backward pass, everything else being the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
import optax  # type: ignore[import-untyped]
from jaxtyping import Array, Float, Float32, Int

from models.rnn.network import RNNNetwork
from runners.config.solvers import SolverEntry
from runners.experiment import RunFailure
from runners.measure.timing import Times, time_calls
from runners.rnn.backprop.gradients import backward_pass, plain_gradients, relative_deviation, solved_gradients
from solvers import solve

PASSES = 50  # timed backward passes of each method


class TrainStep(NamedTuple):
    """The outcome of one training step."""

    model: RNNNetwork
    optimizer_state: Any
    loss: Float[Array, ""]  # before the step
    num_steps: Int[Array, ""]  # of the backward pass
    converged: Array
    gradients: RNNNetwork


class Task(NamedTuple):
    """What all methods train on: first weights and the sequences of all training steps."""

    model: RNNNetwork
    sequences: Float32[np.ndarray, "steps T 1 I"]


@dataclass
class SolverTraining:
    """One method's trainings, a list entry for each of the tasks done."""

    label: str
    entry: SolverEntry
    compile_s: float
    gradient_deviation: float  # from jax.grad, at the first step of the first task
    backward_s: Times  # of the backward solve alone, there
    losses: list[np.ndarray] = field(default_factory=list)
    seconds: list[np.ndarray] = field(default_factory=list)
    num_steps: list[np.ndarray] = field(default_factory=list)
    converged: list[np.ndarray] = field(default_factory=list)
    models: list[RNNNetwork] = field(default_factory=list)  # as trained

    def smoothed(self, decay: float) -> Float[np.ndarray, "R S"]:
        """The loss's moving average: s_0 = loss_0, s_i = decay * s_{i-1} + (1 - decay) * loss_i."""
        result = np.array(self.losses, float)
        for i in range(1, result.shape[1]):
            result[:, i] = decay * result[:, i - 1] + (1 - decay) * result[:, i]
        return result

    def arrays(self, decay: float) -> dict[str, np.ndarray]:
        """The arrays of traces.npz."""
        return {
            "loss": np.array(self.losses, np.float32),
            "smoothed": self.smoothed(decay).astype(np.float32),
            "seconds": np.array(self.seconds, np.float32),
            "num_steps": np.array(self.num_steps, np.int32),
        }


class Method:
    """A training step whose backward pass one solver does, compiled for one task's shapes."""

    def __init__(self, label: str, entry: SolverEntry, learning_rate: float, task: Task) -> None:
        self.label, self.entry = label, entry
        self._optimizer = optax.sgd(learning_rate)
        begin = time.perf_counter()
        first = (task.model, self._optimizer.init(task.model), task.sequences[0])
        self._step: Callable[..., TrainStep] = jax.jit(self._advance).lower(*first).compile()
        self.compile_s = time.perf_counter() - begin
        self._first = first

    def measure(self) -> SolverTraining:
        """The first step's gradient beside jax.grad's, and the time of its backward pass. Warms the step up, too."""
        model, _, inputs = self._first
        plain = jax.jit(plain_gradients)(model, inputs)
        deviation = float(jax.jit(relative_deviation)(self._step(*self._first).gradients, plain))
        system, entry = jax.jit(backward_pass)(model, inputs).system, self.entry
        backward = jax.jit(lambda system: solve(system, entry.solver, max_steps=entry.max_steps, throw=False).value)
        times = time_calls(lambda: backward(system), PASSES)
        return SolverTraining(self.label, self.entry, self.compile_s, deviation, times)

    def train(self, task: Task, training: SolverTraining) -> None:
        """Train from the task's first weights, and add what was seen to ``training``.

        Raises RunFailure where a loss is not finite.
        """
        model, state = task.model, self._optimizer.init(task.model)
        sequences = [jax.device_put(sequence) for sequence in task.sequences]
        steps, seconds = [], []
        for sequence in sequences:
            begin = time.perf_counter()
            step = jax.block_until_ready(self._step(model, state, sequence))
            seconds.append(time.perf_counter() - begin)
            model, state = step.model, step.optimizer_state
            steps.append((step.loss, step.num_steps, step.converged))
        losses, num_steps, converged = (np.array(values) for values in zip(*steps, strict=True))
        if not np.isfinite(losses).all():
            done = int(np.argmin(np.isfinite(losses)))
            raise RunFailure(
                f"training with {self.label}: the loss is not finite after {done} steps; try a lower learning_rate"
            )
        training.losses.append(losses)
        training.seconds.append(np.array(seconds))
        training.num_steps.append(num_steps)
        training.converged.append(converged)
        training.models.append(model)

    def _advance(self, model: RNNNetwork, optimizer_state: Any, inputs: Float[Array, "T B I"]) -> TrainStep:
        backward = backward_pass(model, inputs)
        gradients, num_steps, converged = solved_gradients(model, inputs, backward, self.entry)
        updates, optimizer_state = self._optimizer.update(gradients, optimizer_state, model)
        trained = optax.apply_updates(model, updates)
        return TrainStep(trained, optimizer_state, backward.loss, num_steps, converged, gradients)


def train_all(
    methods: Sequence[Method], trainings: Sequence[SolverTraining], tasks: Iterator[Task], advance: Callable[[], None]
) -> None:
    """Train every method on every task, adding to its training what was seen; ``advance`` is called after each.

    The methods take turns, each task beginning with another one, so that what else goes on disturbs all alike.
    """
    for i, task in enumerate(tasks):
        for k in range(len(methods)):
            chosen = (i + k) % len(methods)
            methods[chosen].train(task, trainings[chosen])
            advance()
