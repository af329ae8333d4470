"""Training with a backward pass by any solver, and how trainings are compared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from models.rnn.network import RNNNetwork
from runners.config.solvers import labels, parse_entry
from runners.measure.timing import Times
from runners.rnn.backprop.gradients import relative_deviation
from runners.rnn.backprop.summary import TrainingTable
from runners.rnn.backprop.training import Method, SolverTraining, Task, train_all
from tests.kit.rnn import model, pixels


def tasks(count: int, num_steps: int = 4) -> list[Task]:
    return [
        Task(model(seed=seed), np.asarray(pixels(8, num_steps, seed).swapaxes(0, 1)[:, :, None]))
        for seed in range(count)
    ]


def plain_training(task: Task, learning_rate: float) -> tuple[list[float], RNNNetwork]:
    """Gradient descent as it is usually written."""

    @jax.jit
    @jax.value_and_grad
    def evaluate(network: RNNNetwork, inputs: Any) -> Any:
        return network.loss(network.states(inputs), inputs)

    network, losses = task.model, []
    for inputs in task.sequences:
        loss, gradients = evaluate(network, inputs)
        network = jax.tree.map(lambda p, g: p - learning_rate * g, network, gradients)
        losses.append(float(loss))
    return losses, network


def test_training_is_plain_gradient_descent_whatever_solves_the_backward_pass() -> None:
    entries = [parse_entry(entry) for entry in ("cached_sequential", "jacobi", "parallel_scan")]
    chosen = tasks(2)
    methods = [Method(label, entry, 0.05, chosen[0]) for label, entry in zip(labels(entries), entries, strict=True)]
    turns: list[int] = []
    trainings = [method.measure() for method in methods]
    train_all(methods, trainings, iter(chosen), lambda: turns.append(1))
    assert len(turns) == len(methods) * len(chosen)
    for i, task in enumerate(chosen):
        losses, trained = plain_training(task, 0.05)
        assert losses[-1] != losses[0]
        for training in trainings:
            np.testing.assert_allclose(training.losses[i], losses, rtol=1e-5)
            assert float(relative_deviation(training.models[i], trained)) < 1e-5
            assert training.gradient_deviation < 1e-5


def test_methods_take_turns() -> None:
    order: list[str] = []

    def method(label: str) -> Any:
        return SimpleNamespace(train=lambda task, training: order.append(f"{training}{task}"))

    trainings: Any = ["a", "b"]
    train_all([method("a"), method("b")], trainings, iter([0, 1, 2]), lambda: None)
    assert order == ["a0", "b0", "b1", "a1", "a2", "b2"]


def test_smoothing_is_a_moving_average() -> None:
    loss = np.array([[4.0, 8.0, 2.0], [1.0, 1.0, 1.0]])
    training = SolverTraining("jacobi", parse_entry("jacobi"), 0.0, 0.0, Times.of([1.0]), losses=list(loss))
    np.testing.assert_allclose(training.smoothed(0.75), [[4.0, 5.0, 4.25], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(training.smoothed(0.0), loss)
    np.testing.assert_array_equal(training.losses, loss)


def test_trainings_are_compared_by_what_it_takes_to_reach_the_reference_s_loss() -> None:
    def training(label: str, losses: list[float], seconds: float, steps: int) -> SolverTraining:
        return SolverTraining(
            label,
            parse_entry(label),
            *(0.0, 0.0, Times.of([1.0])),
            losses=[np.array(losses)],
            seconds=[np.full(len(losses), seconds)],
            num_steps=[np.full(len(losses), steps)],
            converged=[np.full(len(losses), True)],
        )

    scan = training("cached_sequential", [8.0, 4.0, 2.0, 2.01, 2.0], 1.0, 100)
    quick, never = training("jacobi", [8.0, 6.0, 4.0, 2.5, 2.02], 0.25, 10), training("picard", [8.0] * 5, 0.1, 1)
    table = TrainingTable([scan, quick, never], 0.0)
    assert table.target == 2.0
    assert table.record(scan)["to_target"] == {"train_steps": 3, "seconds": 3.0, "num_steps": 300}
    assert table.record(quick)["to_target"] == {"train_steps": 5, "seconds": 1.25, "num_steps": 50}
    assert table.record(quick)["speedup"] == {"seconds": 2.4, "num_steps": 6}
    assert table.record(never)["to_target"] is None
    assert table.record(never)["speedup"] == {"seconds": None, "num_steps": None}
