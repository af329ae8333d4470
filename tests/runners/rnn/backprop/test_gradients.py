"""Gradients by solvers: scaled without rounding, and how near they come by step."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.rnn.gradients import backward_system
from models.rnn.network import RNNNetwork
from runners.config.solvers import parse_entry
from runners.rnn.backprop.gradients import (
    GradientErrors,
    backward_pass,
    gradient_errors,
    plain_gradients,
    relative_deviation,
    solved_gradients,
)
from solvers import CachedSequential, solve
from tests.kit.rnn import model, pixels


def test_scaling_by_powers_of_two_rounds_nothing() -> None:
    def both(network: RNNNetwork, inputs: jax.Array) -> Any:
        backward, states = backward_pass(network, inputs), network.states(inputs)
        plain = solve(backward_system(network, inputs, states, inputs), CachedSequential()).value
        scaled = solve(backward.system, CachedSequential()).value
        return backward, plain, jnp.ldexp(scaled, backward.exponent[:, None])

    backward, plain, scaled_back = jax.jit(both)(model("lstm"), pixels(9, 4))
    largest = np.abs(backward.system.source).max(axis=(0, 2))
    assert (largest >= 0.5).all()
    assert (largest < 1.0).all()
    np.testing.assert_array_equal(scaled_back, plain)


def test_a_loss_of_zero_has_a_gradient_of_zero() -> None:
    entry, network, inputs = parse_entry("jacobi"), jax.tree.map(jnp.zeros_like, model()), jnp.zeros((5, 2, 1))

    @jax.jit
    def gradients(network: RNNNetwork, inputs: jax.Array) -> Any:
        backward = backward_pass(network, inputs)
        return backward.system, solved_gradients(network, inputs, backward, entry), plain_gradients(network, inputs)

    system, solved, plain = gradients(network, inputs)
    assert bool(solved.converged)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves((solved.parameters, plain)))
    assert float(relative_deviation(solved.parameters, plain)) == 0
    errors = gradient_errors(entry, system, system.initial_guess())
    assert not errors.error.any()
    assert gradient_errors(entry, system, jnp.ones_like(system.source)).error.max() == 1
    source = dataclasses.replace(system, source=jnp.ones_like(system.source))
    assert np.isinf(gradient_errors(entry, source, system.initial_guess()).error).all()


def test_errors_are_relative_and_by_sequence() -> None:
    network, inputs = model(), pixels(12, 3)
    system = backward_pass(network, inputs).system
    reference = np.asarray(solve(system, CachedSequential()).value)
    errors = gradient_errors(parse_entry({"name": "jacobi", "max_steps": 4}), system, reference)
    np.testing.assert_array_equal(errors.num_steps, [1, 2, 3, 4])
    x = system.initial_guess()
    for step in range(4):
        x = system.sweep(x)
        expected = np.abs(np.asarray(x) - reference).max(axis=(0, 2)) / np.abs(reference).max(axis=(0, 2))
        np.testing.assert_allclose(errors.error[step], expected, rtol=1e-4)


def test_steps_are_counted_to_where_the_error_stays_small() -> None:
    error = np.array([[1.0, 1e-9, 1.0], [1e-6, 1.0, 1.0], [0.0, 1e-6, np.nan]])
    errors = GradientErrors(np.array([2, 4, 6]), error)
    assert errors.steps_to(1e-5) == [4, 6, None]
    assert errors.steps_to(0.0) == [6, None, None]
    assert [errors.mean_after(steps) for steps in (1, 2, 5)] == pytest.approx([1.0, 2 / 3, (2 + 1e-6) / 3])
    assert GradientErrors(np.array([3]), np.array([[0.0]])).steps_to(0.0) == [3]
