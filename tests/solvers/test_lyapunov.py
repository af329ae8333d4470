"""The largest Lyapunov exponent against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers.lyapunov import advice, largest_lyapunov_exponent, pays
from solvers.systems.recurrence import Recurrence
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class Map(Recurrence):
    """x_t = rule(x_{t-1}, parameters), the same at all t."""

    rule: Callable[[Any, Any], Any] = field(metadata={"static": True})
    parameters: Any
    initial_state: Any
    length: int = field(metadata={"static": True})

    @property
    def num_equations(self) -> int:
        return self.length

    def transitions(self, previous: Any, start: Any) -> Any:
        return self.rule(previous, self.parameters)


def linear(x: Any, matrix: Any) -> Any:
    return x @ matrix.T


def logistic(x: Any, rate: Any) -> Any:
    return rate * x * (1 - x)


def recurrent(x: Any, matrix: Any) -> Any:
    return jnp.tanh(x @ matrix.T)


def in_parts(x: Any, matrix: Any) -> Any:
    """The linear map of a state of two leaves, and a counter, which has no derivative."""
    joined = jnp.concatenate([x["a"][..., None], x["b"]], axis=-1) @ matrix.T
    return {"a": joined[..., 0], "b": joined[..., 1:], "count": x["count"] + 1}


@partial(jax.jit, static_argnames="burn_in")
def solved(system: Map, burn_in: int) -> tuple[Any, jax.Array]:
    """The solution and the exponents."""
    start = (system.init_cache(), 0, system.num_equations)
    x = system.forward_substitution(*start)[0] if system.num_equations else system.initial_guess()
    return x, largest_lyapunov_exponent(system, x, burn_in)


def exponents(system: Map, burn_in: int = 0) -> np.ndarray:
    return np.asarray(solved(system, burn_in)[1])


TURN = [[math.cos(1.0), -math.sin(1.0)], [math.sin(1.0), math.cos(1.0)]]


@pytest.mark.parametrize(
    ("matrix", "radius", "tolerance"),
    [
        ([[0.5]], 0.5, 1e-6),
        ([[-1.25]], 1.25, 1e-6),
        (0.9 * np.asarray(TURN), 0.9, 1e-6),  # no direction grows faster than another
        (1.1 * np.asarray(TURN), 1.1, 1e-6),
        (np.diag([0.5, 0.9, -0.7]), 0.9, 1e-4),
        ([[0.9, 5.0], [0.0, 0.4]], 0.9, 1e-4),  # far from normal: grows at first
    ],
)
def test_linear_maps_have_the_log_of_their_spectral_radius(matrix: Any, radius: float, tolerance: float) -> None:
    matrix = jnp.asarray(matrix, jnp.float32)
    system = Map(linear, matrix, jnp.ones((3, len(matrix))), 100)
    np.testing.assert_allclose(exponents(system, 60), np.full(3, math.log(radius)), atol=tolerance)


def test_burn_in_leaves_the_first_steps_out() -> None:
    system = Map(linear, jnp.asarray([[0.9, 5.0], [0.0, 0.4]]), jnp.ones((1, 2)), 100)
    assert exponents(system)[0] > math.log(0.9) + 1e-3
    assert exponents(system, 99)[0] == pytest.approx(math.log(0.9), abs=1e-5)


@pytest.mark.usefixtures("x64")
def test_logistic_map_at_four_has_log_two() -> None:
    system = Map(logistic, jnp.float64(4.0), jnp.asarray([0.1234, 0.3456], jnp.float64), 20_000)
    np.testing.assert_allclose(exponents(system, 100), math.log(2), atol=0.02)


def test_logistic_map_with_a_stable_point_has_the_log_of_its_slope() -> None:
    """At rate 2.5 the point is 0.6, where the slope is 2.5 (1 - 1.2) = -0.5."""
    system = Map(logistic, jnp.float32(2.5), jnp.asarray([0.3]), 200)
    assert exponents(system, 50)[0] == pytest.approx(math.log(0.5), abs=1e-4)


@pytest.mark.usefixtures("x64")
def test_coupled_map_agrees_with_the_product_of_its_jacobians() -> None:
    matrix = jax.random.normal(jax.random.key(1), (4, 4), jnp.float64)
    start = jax.random.normal(jax.random.key(2), (2, 4), jnp.float64)
    system = Map(recurrent, matrix, start, 300)
    x = np.concatenate([start[None], np.asarray(solved(system, 0)[0])])
    expected = []
    for sample in range(2):
        vector, total = np.full(4, 0.5), 0.0
        for t in range(300):
            slope = 1 - np.tanh(x[t, sample] @ np.asarray(matrix).T) ** 2
            vector = slope * (np.asarray(matrix) @ vector)
            total += math.log(np.linalg.norm(vector))
            vector /= np.linalg.norm(vector)
        expected.append(total / 300)
    np.testing.assert_allclose(exponents(system), expected, atol=0.03)  # another first direction


def test_states_of_several_leaves_and_counters() -> None:
    matrix = jnp.asarray(np.diag([0.3, 0.8, 0.6]), jnp.float32)
    start = {"a": jnp.ones(2), "b": jnp.ones((2, 2)), "count": jnp.zeros(2, jnp.int32)}
    np.testing.assert_allclose(exponents(Map(in_parts, matrix, start, 100), 60), math.log(0.8), atol=1e-4)


def test_a_sample_s_exponent_is_its_own() -> None:
    matrix = jax.random.normal(jax.random.key(3), (4, 4))
    start = jax.random.normal(jax.random.key(4), (3, 4))
    together = exponents(Map(recurrent, matrix, start, 50))
    alone = exponents(Map(recurrent, matrix, start[1:2], 50))
    assert together[1] == pytest.approx(alone[0], abs=1e-5)


@pytest.mark.parametrize(("length", "burn_in"), [(0, 0), (1, 1), (5, 9)])
def test_without_a_step_there_is_no_exponent(length: int, burn_in: int) -> None:
    found = exponents(Map(linear, jnp.eye(2), jnp.ones((3, 2)), length), burn_in)
    assert found.shape == (3,)
    assert np.isnan(found).all()


def test_one_step_is_enough() -> None:
    assert exponents(Map(linear, 0.25 * jnp.eye(2), jnp.ones((1, 2)), 1))[0] == pytest.approx(math.log(0.25), abs=1e-5)


def test_what_forgets_at_once_has_minus_infinity() -> None:
    assert exponents(Map(linear, jnp.zeros((2, 2)), jnp.ones((1, 2)), 5))[0] == -math.inf


def test_negative_burn_in_is_refused() -> None:
    with pytest.raises(ValueError, match="burn_in must be 0 or more, not -1"):
        largest_lyapunov_exponent(Map(linear, jnp.eye(1), jnp.ones((1, 1)), 3), jnp.ones((3, 1, 1)), -1)


@pytest.mark.parametrize(
    ("exponent", "expected", "sentence"),
    [
        (
            -0.314,
            True,
            "stable: largest Lyapunov exponent -0.31 per step: a deviation fades by a factor e in 3.2 steps; "
            "where T is much longer, parallel solvers can do with few",
        ),
        (
            -math.inf,
            True,
            "stable: largest Lyapunov exponent -inf per step: a deviation fades by a factor e in 0 steps; "
            "where T is much longer, parallel solvers can do with few",
        ),
        (
            0.314,
            False,
            "chaotic: largest Lyapunov exponent +0.31 per step; parallel solving does not pay, use cached_sequential",
        ),
        (
            0.0,
            False,
            "marginal: largest Lyapunov exponent +0.00 per step; parallel solving does not pay, use cached_sequential",
        ),
        (math.nan, False, "no largest Lyapunov exponent: no finite step to estimate it from"),
    ],
)
def test_advice(exponent: float, expected: bool, sentence: str) -> None:
    assert pays(exponent) is expected
    assert advice(exponent) == sentence
