"""Systems that a config states by name: steps of differential equations, the layers of a residual network."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.options import build_options
from models import PROBLEMS
from models.ode.fields import Contraction, Lorenz63
from models.ode.flow import Flow
from models.rnn.systems import BackwardRNN
from solvers import MarkovSystem, Newton, ParallelScan, Picard, check_system, solve

SMALL = {
    "lorenz63": {"num_steps": 7, "batch_size": 2},
    "pendulum": {"num_steps": 7, "batch_size": 2},
    "contraction": {"num_steps": 7, "batch_size": 2, "features": 3},
    "residual_network": {"num_layers": 5, "batch_size": 2, "features": 4, "hidden_size": 3},
    "permutations": {"num_steps": 7, "batch_size": 2, "features": 4},
    "rnn": {"num_steps": 7, "batch_size": 2, "hidden_size": 3},
    "rnn_backward": {"num_steps": 7, "batch_size": 2, "hidden_size": 3, "cell": "para_gru"},
    "mcmc": {"num_steps": 7, "batch_size": 2, "target": {"name": "two_wells"}, "kernel": {"name": "mala"}},
}
every_problem = pytest.mark.parametrize("name", PROBLEMS)


def states(system: Any) -> Any:
    return jax.jit(lambda system: system.forward_substitution(system.init_cache(), 0, system.num_equations)[0])(system)


def make(name: str, seed: int = 0, **options: Any) -> Any:
    return build_options(PROBLEMS[name], options).system(seed)


def test_every_problem_has_a_small_system() -> None:
    assert set(SMALL) == set(PROBLEMS)


@every_problem
def test_problems_keep_the_contract(name: str) -> None:
    system = make(name, **SMALL[name])
    assert isinstance(system, MarkovSystem)
    check_system(system, say=lambda line: None)


@every_problem
def test_what_is_random_is_the_seeds_alone(name: str) -> None:
    def equal(a: Any, b: Any) -> bool:
        return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))

    options = SMALL[name]
    one = make(name, 1, **options)
    assert equal(one, make(name, 1, **options))
    assert not equal(one, make(name, 2, **options))


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("lorenz63", {"step_siz": 0.1}, "unknown option 'step_siz'; did you mean 'step_size'?"),
        ("pendulum", {"step_size": 0}, "step_size should be more than 0, not 0"),
        ("contraction", {"gain": -1}, "gain should be at least 0, not -1"),
        ("residual_network", {"num_layers": 1.5}, "num_layers should be a whole number, not 1.5"),
        ("rnn", {"cell": "gruu"}, "unknown cell 'gruu'; did you mean 'gru'?"),
        ("rnn_backward", {"activation": "tanh"}, "gru has activations of its own"),
        ("lorenz63", {"rho": float("inf")}, "rho should be a finite number, not inf"),
    ],
)
def test_options_that_make_no_sense_are_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?")):
        make(name, **options)


def decay(num_steps: int) -> Flow:
    """x' = -x from 1, for one unit of time."""
    still = Contraction(jnp.zeros((1, 1)), jnp.zeros(1), jnp.zeros(1))
    return Flow(still, jnp.ones((1, 1)), num_steps, 1.0 / num_steps)


def test_steps_are_of_order_four(x64: None) -> None:
    errors = [abs(float(states(decay(n))[-1, 0, 0]) - np.exp(-1.0)) for n in (4, 8, 16)]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(16, rel=0.1)


def test_time_goes_on_from_step_to_step(x64: None) -> None:
    """x' = -x + sin(t) from 0: x = (sin t - cos t + exp(-t)) / 2."""
    system = Flow(Contraction(jnp.zeros((1, 1)), jnp.ones(1), jnp.zeros(1)), jnp.zeros((1, 1)), 40, 0.1)
    t = 0.1 * np.arange(1, 41)
    expected = (np.sin(t) - np.cos(t) + np.exp(-t)) / 2
    np.testing.assert_allclose(states(system)[:, 0, 0], expected, atol=1e-5)


def test_lorenz_has_its_three_rest_points() -> None:
    lorenz = Lorenz63(jnp.float32(10), jnp.float32(28), jnp.float32(8 / 3))
    root = np.sqrt(8 / 3 * 27)
    for point in ([0, 0, 0], [root, root, 27], [-root, -root, 27]):
        np.testing.assert_allclose(lorenz(jnp.float32(0), jnp.asarray(point, jnp.float32)), 0, atol=1e-4)
    moving = lorenz(jnp.float32(0), jnp.asarray([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(moving, [10 * (2 - 1), 1 * (28 - 3) - 2, 1 * 2 - 8 / 3 * 3], rtol=1e-6)


@pytest.mark.parametrize("damping", [0.0, 0.2])
def test_a_pendulum_loses_energy_by_its_damping_alone(damping: float) -> None:
    system = make("pendulum", num_steps=500, step_size=0.05, damping=damping)
    angle, velocity = np.moveaxis(np.asarray(states(system)), -1, 0)
    energy = velocity**2 / 2 - np.cos(angle)
    if damping:
        assert np.all(np.diff(energy, axis=0) < 1e-6)
        assert np.all(energy[-1] - energy[0] < -0.1)
    else:
        np.testing.assert_allclose(energy, energy[:1] + 0 * energy, atol=1e-4)


def test_solutions_of_a_contraction_approach_each_other() -> None:
    system = make("contraction", num_steps=50, step_size=0.1, batch_size=2, gain=0.5, features=4)
    x = np.asarray(states(system))
    distance = np.linalg.norm(x[:, 0] - x[:, 1], axis=-1)
    assert np.all(distance[1:] <= distance[:-1] * np.exp(-0.5 * 0.1) * (1 + 1e-4))
    assert int(solve(system, Newton()).stats.num_steps) <= 6


@pytest.mark.parametrize("start", [0, 6])
def test_the_coarse_map_is_one_step_as_long_as_many(start: int) -> None:
    fine = make("contraction", num_steps=12, batch_size=2, features=3)
    long = Flow(fine.vector_field, fine.initial_state, 4, 3 * fine.step_size)
    expected = long.transition(fine.initial_state, jnp.int32(start // 3))
    np.testing.assert_allclose(fine.coarse(fine.initial_state, jnp.int32(start), 3), expected, rtol=1e-6)
    one = fine.transition(fine.initial_state, jnp.int32(start))
    np.testing.assert_allclose(fine.coarse(fine.initial_state, start, 1), one, rtol=1e-6)


def test_a_residual_layer_by_numpy() -> None:
    system = make("residual_network", **SMALL["residual_network"])
    x = np.asarray(system.initial_state)
    rms = np.sqrt(np.mean(x**2, axis=-1, keepdims=True))
    expected = x + np.maximum(x / rms @ np.asarray(system.up[3]), 0) @ np.asarray(system.down[3])
    np.testing.assert_allclose(system.transition(system.initial_state, jnp.int32(3)), expected, rtol=1e-4, atol=1e-5)


def test_permutations_are_solved_by_one_linearization_and_forget_nothing() -> None:
    system = make("permutations", num_steps=50, batch_size=2)
    solution = solve(system, Newton())
    assert int(solution.stats.num_steps) == 2  # one, and one that confirms it
    exact = np.asarray(system.initial_state)
    for order in np.asarray(system.order):
        exact = np.take_along_axis(exact, order, axis=-1)
    np.testing.assert_array_equal(solution.value[-1], exact)
    np.testing.assert_allclose(solve(system, ParallelScan()).value, solution.value, rtol=1e-6)


def test_a_backward_pass_by_name_is_that_of_jax() -> None:
    options = {"num_steps": 6, "batch_size": 2, "hidden_size": 3}
    forward, backward = make("rnn", 4, **options), make("rnn_backward", 4, **options)
    at_end = backward.source[0]

    def loss(offsets: Any) -> Any:
        def body(state: Any, both: Any) -> Any:
            return forward.transition(state, both[0]) + both[1], None

        return jnp.sum(at_end * jax.lax.scan(body, forward.initial_state, (jnp.arange(6), offsets))[0])

    expected = jax.grad(loss)(jnp.zeros((6, 2, 3)))
    found = BackwardRNN.in_time(solve(backward, ParallelScan()).value)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_identities_stand_for_the_jacobians_of_many_layers() -> None:
    system = make("residual_network")
    solution = solve(system, Picard())
    assert int(solution.stats.num_steps) < system.num_equations / 3
    x = np.asarray(solution.value)
    grown = np.mean(x[-1] ** 2) - np.mean(np.asarray(system.initial_state) ** 2)
    assert grown == pytest.approx(1.0, abs=0.3)  # what all layers together add
