"""The guesses that come with the library: what each of them says, and that answers and bounds stay."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers import (
    SOLVERS,
    Argmax,
    AutoregressiveSystem,
    CountedGuessingSystem,
    DiscretizedLogisticMixture,
    Guesses,
    GuessingSystem,
    Gumbel,
    Jacobi,
    Logistic,
    NGram,
    NoiseFree,
    NoiseFreeHead,
    RepeatLast,
    Status,
    TriangularSystem,
    fits,
    from_function,
    solve,
    with_first_guess,
    with_guesses,
)
from solvers.heads.logistic import LocationScale
from tests.kit.bank import Chain, tiny_made

T, B = 12, 3
SAMPLING = [name for name in SOLVERS if fits(SOLVERS[name], AutoregressiveSystem)]
# Every solver goes on from one way to guess, and Jacobi-type ones between them from all.
WAYS: dict[str, Guesses] = {"jacobi": NoiseFree(), "gs_jacobi": RepeatLast(), "sliding_gs_jacobi": NoiseFree()}


def guessed(guesses: Guesses, y: Any, known: jax.Array) -> Any:
    """The guesses for a state of which so much is known of each sample."""
    return jax.jit(lambda y, known: guesses.guess(None, y, y, known))(y, known)


def options(name: str) -> dict[str, Any]:
    return {"block_size": 4} if "gs" in name else {}


@pytest.fixture(scope="module")
def plain() -> tuple[AutoregressiveSystem, jax.Array]:
    """A small MADE, and its sample by forward substitution."""
    system = tiny_made(T, B, 0)
    return system, solve(system, SOLVERS["sequential"]()).value


@pytest.mark.parametrize("name", SAMPLING)
def test_every_solver_ends_at_the_same_sample_within_its_bound(name: str, plain: Any) -> None:
    system, expected = plain
    solver = SOLVERS[name](**options(name))
    found = solve(with_guesses(system, WAYS.get(name, RepeatLast())), solver)
    assert found.outcome is Status.CONVERGED
    assert 1 <= int(found.stats.num_iterations) <= solver.max_steps(system)
    np.testing.assert_allclose(found.value, expected, atol=1e-5)


def periodic(period: int, length: int = 24) -> Any:
    """x_t = (x_{t-1} + 1) mod period, from 0: class ids that repeat themselves."""
    return from_function(counted, jnp.full((length, 2), 99), jnp.int32(period))


def counted(x: jax.Array, period: jax.Array) -> jax.Array:
    before = jnp.concatenate([jnp.full_like(x[:1], -1), x[:-1]])
    return (before + 1) % period


def held(x: jax.Array, change: jax.Array) -> jax.Array:
    """x_t = x_{t-1} + change_t, from 0."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]) + change


@pytest.mark.parametrize(("n", "period", "steps"), [(1, 4, 6), (3, 4, 8)])
def test_n_grams_foresee_what_repeats_itself(n: int, period: int, steps: int) -> None:
    system = periodic(period)
    without, found = solve(system, Jacobi()), solve(with_guesses(system, NGram(n)), Jacobi())
    np.testing.assert_array_equal(found.value, without.value)
    assert (int(found.stats.num_steps), int(without.stats.num_steps)) == (steps, 25)


def test_the_last_known_value_is_repeated() -> None:
    system = from_function(held, jnp.full((24, 1), 99), jnp.zeros((24, 1), jnp.int32).at[12].set(1))
    without, found = solve(system, Jacobi()), solve(with_guesses(system, RepeatLast()), Jacobi())
    np.testing.assert_array_equal(found.value, without.value)
    assert (int(found.stats.num_steps), int(without.stats.num_steps)) == (3, 25)
    y = {"flat": jnp.arange(4.0), "wide": jnp.arange(8.0).reshape(4, 1, 2)}
    guess = guessed(RepeatLast(), y, jnp.array([2]))
    np.testing.assert_array_equal(guess["flat"], [1, 1, 1, 1])
    np.testing.assert_array_equal(guess["wide"][:, 0], [[2, 3]] * 4)
    np.testing.assert_array_equal(guessed(RepeatLast(), y, jnp.array([0]))["flat"], y["flat"])


def test_n_grams_follow_the_last_place_of_each_sample() -> None:
    y = jnp.array([[1, 2, 3, 1, 2, 9, 9, 9], [1, 1, 1, 5, 6, 7, 8, 9], [4, 5, 6, 7, 8, 9, 9, 9]]).T
    known = jnp.array([5, 3, 5])
    expected = {
        1: [[1, 2, 3, 1, 2, 3, 1, 2], [1] * 8, [4, 5, 6, 7, 8, 9, 9, 9]],
        3: [[1, 2, 3, 1, 2, 9, 9, 9], [1, 1, 1, 5, 6, 7, 8, 9], [4, 5, 6, 7, 8, 9, 9, 9]],
    }
    for n, rows in expected.items():
        np.testing.assert_array_equal(guessed(NGram(n), y, known).T, rows)
    np.testing.assert_array_equal(guessed(NGram(2), y, jnp.zeros(3, jnp.int32)), y)


def test_a_first_guess_that_is_the_answer_takes_one_step(plain: Any) -> None:
    system, expected = plain
    started = with_first_guess(system, solve(system, Jacobi()).value)
    assert not isinstance(started, GuessingSystem)
    found = solve(started, Jacobi())
    assert int(found.stats.num_steps) == 1
    np.testing.assert_allclose(found.value, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"first guess must be laid out as float32\[12, 3\], not float32\[11, 3\]"):
        with_first_guess(system, expected[1:])


def test_a_guessed_system_is_whatever_the_system_is_and_its_work_is_counted(plain: Any) -> None:
    system, _ = plain
    outer = with_guesses(system, NoiseFree())
    for name in SAMPLING:
        assert fits(SOLVERS[name], outer)
    assert not fits(SOLVERS["newton"], outer)
    assert isinstance(outer, CountedGuessingSystem)
    assert outer.network is system.network
    again = with_guesses(system, NoiseFree())
    assert jax.tree.structure(again) == jax.tree.structure(outer)  # or programs would be compiled anew
    stats = solve(outer, Jacobi()).stats
    assert float(stats.sweep_equivalents) == 2 * int(stats.num_steps)
    chain = Chain(jnp.add, jnp.ones((4, 1)), jnp.zeros((4, 1)))
    assert fits(SOLVERS["newton"], with_guesses(chain, RepeatLast()))


def test_without_noise_a_head_gives_the_middle_of_its_distribution() -> None:
    logits = jax.random.normal(jax.random.key(0), (4, 2, 5))
    for head in (Gumbel(5, temperature=2.0), Argmax(5)):
        quiet = noise_free(head)
        np.testing.assert_array_equal(jax.jit(head.sample)(logits, quiet), jnp.argmax(logits, axis=-1))
    parameters = LocationScale(jnp.arange(8.0).reshape(4, 2), jnp.zeros((4, 2)))
    np.testing.assert_array_equal(jax.jit(Logistic().sample)(parameters, noise_free(Logistic())), parameters.mean)
    # Two components of weights 3 : 1 around -1/2 and 1/2, narrow: the mean of the heavier, and the median in it.
    params = jnp.broadcast_to(jnp.array([jnp.log(3.0), 0.0, -0.5, 0.5, -4.0, -4.0]), (4, 2, 6))
    likeliest, median = (
        jax.jit(head.sample)(params, noise_free(head))
        for head in (DiscretizedLogisticMixture(1, 2, "gumbel"), DiscretizedLogisticMixture(1, 2, "inverse_cdf"))
    )
    np.testing.assert_allclose(likeliest, -0.5, atol=1e-6)
    np.testing.assert_allclose(median, -0.5 + np.exp(-4.0) * np.log(2.0), atol=1e-5)  # the quantile 2/3 of it


def noise_free(head: Any) -> Any:
    assert isinstance(head, NoiseFreeHead)
    noise = jax.jit(lambda key: head.draw_noise(key, 4, 2))(jax.random.key(1))
    quiet = head.noise_free(noise)
    assert jax.tree.map(jnp.shape, quiet) == jax.tree.map(jnp.shape, noise)
    return quiet


class Segments:
    """Equations of two shapes."""

    num_equations = 3

    def initial_guess(self) -> Any:
        return jnp.zeros((1, 2)), jnp.zeros((2, 2, 3))

    def sweep(self, x: Any) -> Any:
        return x


def test_guesses_that_do_not_go_with_a_system_are_refused(plain: Any) -> None:
    with pytest.raises(ValueError, match=r"n_gram goes with sequences of class ids, .*; the state is float32\[12, 3\]"):
        with_guesses(plain[0], NGram())
    with pytest.raises(ValueError, match="noise_free goes with an AutoregressiveSystem, not with FunctionSystem"):
        with_guesses(periodic(2), NoiseFree())
    with pytest.raises(ValueError, match="noise_free needs a head that has it; object has no"):
        with_guesses(AutoregressiveSystem(None, object(), {}), NoiseFree())
    with pytest.raises(ValueError, match="repeat_last goes with equations of one shape; those of Segments are"):
        with_guesses(Segments(), RepeatLast())
    with pytest.raises(ValueError, match="n must be at least 1, not 0"):
        NGram(0)
    assert isinstance(Segments(), TriangularSystem)
