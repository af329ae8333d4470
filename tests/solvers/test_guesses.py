"""Systems that foresee values: guesses save steps or do not, and change neither answers nor bounds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers import (
    SOLVERS,
    AutoregressiveSystem,
    GuessingSystem,
    Jacobi,
    MarkovSystem,
    Status,
    advance,
    finish,
    fits,
    pytree,
    solve,
    start,
)
from tests.kit.bank import Chain, chain, counting_link, linear_link, tiny_made

T, B = 12, 3


@pytree
@dataclass(frozen=True)
class GuessingMADE(AutoregressiveSystem):
    """Equations of a sample with guesses of a function."""

    foresee: Callable[..., Any] = field(metadata={"static": True}, default=lambda system, x, y, frontier: y)

    def guess(self, x: Any, y: Any, frontier: Any) -> Any:
        return self.foresee(self, x, y, frontier)


@pytree
@dataclass(frozen=True)
class GuessingChain(Chain):
    """x_t = link(x_{t-1}, b_t), which guesses that what follows counts on from the last exact value."""

    guess: Any = field(metadata={"static": True}, default=None)

    @staticmethod
    def counts_on(x: Any, y: Any, frontier: Any) -> Any:
        last = jnp.take_along_axis(y, jnp.maximum(frontier - 1, 0)[None], axis=0)
        return last + jnp.arange(y.shape[0])[:, None] - (frontier - 1)

    def initial_guess(self) -> Any:
        return jnp.zeros_like(self.inputs)


def noise(system: Any, x: Any, y: Any, frontier: Any) -> Any:
    """Other values at each step, and everywhere."""
    return jax.random.normal(jax.random.fold_in(jax.random.key(0), jnp.sum(frontier)), y.shape)


def nothing(system: Any, x: Any, y: Any, frontier: Any) -> Any:
    return jnp.full_like(y, jnp.nan)


def guessing(foresee: Callable[..., Any]) -> GuessingMADE:
    made = tiny_made(T, B, 0)
    return GuessingMADE(made.network, made.head, made.noise, made.known, foresee)


def options(name: str) -> dict[str, Any]:
    return {"block_size": 4} if "gs" in name else {}


@pytest.mark.parametrize("foresee", [noise, nothing])
@pytest.mark.parametrize("name", [name for name in SOLVERS if fits(SOLVERS[name], AutoregressiveSystem)])
def test_the_worst_guesses_change_neither_answer_nor_bound(name: str, foresee: Callable[..., Any]) -> None:
    solver = SOLVERS[name](**options(name))
    expected = solve(tiny_made(T, B, 0), solver)
    found = solve(guessing(foresee), solver)
    assert found.outcome is Status.CONVERGED
    assert int(found.stats.num_iterations) <= solver.max_steps(guessing(foresee))
    np.testing.assert_allclose(found.value, expected.value, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, kind in SOLVERS.items() if kind.requires is MarkovSystem])
def test_guesses_of_solvers_that_remember(name: str) -> None:
    plain = chain(linear_link, T, B, 0)
    system = GuessingChain(plain.link, plain.inputs, lambda x, y, frontier: 3.0 - y)
    expected, found = solve(plain, Jacobi()).value, solve(system, SOLVERS[name]())
    assert found.outcome is Status.CONVERGED
    np.testing.assert_allclose(found.value, expected, atol=1e-5)


def test_right_guesses_save_steps_and_are_checked() -> None:
    plain = chain(counting_link, T, B, 0, guess=0.0)
    system = GuessingChain(plain.link, plain.inputs, GuessingChain.counts_on)
    without, found = solve(plain, Jacobi()), solve(system, Jacobi())
    assert (int(without.stats.num_steps), int(found.stats.num_steps)) == (T + 1, 2)
    np.testing.assert_array_equal(found.value, without.value)


def test_the_hook_sees_both_ends_of_the_last_step_and_the_exact_prefix() -> None:
    seen: list[Any] = []

    def foresee(system: Any, x: Any, y: Any, frontier: Any) -> Any:
        jax.debug.callback(lambda *given: seen.append(jax.tree.map(np.asarray, given)), x, y, frontier, ordered=True)
        return y + 1.0

    system = guessing(foresee)
    answer = solve(tiny_made(T, B, 0), Jacobi()).value
    found = solve(system, Jacobi())
    jax.effects_barrier()
    np.testing.assert_array_equal(found.value, answer)
    assert len(seen) == int(found.stats.num_steps)
    for (_, before, known), (x, y, frontier) in itertools.pairwise(seen):
        np.testing.assert_allclose(y, system.sweep(jnp.asarray(x)), atol=1e-6)
        for sample in range(B):  # guessed, but for the exact prefix; nothing is guessed behind the first step
            at = known[sample]
            np.testing.assert_array_equal(x[:at, sample], before[:at, sample])
            np.testing.assert_array_equal(y[: frontier[sample], sample], answer[: frontier[sample], sample])


def test_slices_of_a_solve_that_guesses_equal_the_whole() -> None:
    system = guessing(noise)
    progress = start(system, Jacobi())
    while bool(progress.unfinished):
        progress = advance(system, Jacobi(), progress, progress.iteration + 2)
    whole = solve(system, Jacobi())
    np.testing.assert_array_equal(finish(system, progress).value, whole.value)
    assert int(progress.num_steps) == int(whole.stats.num_steps)


def test_guesses_laid_out_otherwise_are_refused_and_a_first_guess_of_that_name_is_none() -> None:
    with pytest.raises(ValueError, match="what guess gives must be laid out as"):
        solve(guessing(lambda system, x, y, frontier: y[1:]), Jacobi())
    named_alike = chain(counting_link, T, B, 0, guess=0.0)
    assert isinstance(named_alike, GuessingSystem)
    assert start(named_alike, Jacobi()).previous is None
