"""Parareal's rounds: a block more is exact after each, and few suffice where the coarse pass is near the fine one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from solvers import CachedSequential, CoarseMarkovSystem, Parareal, Recurrence, Status, solve
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class Decay(Recurrence):
    """x' = x + 0.05 (sin(t / 10) - x^3), of which no step is large."""

    initial_state: Array
    length: Array  # (T,), only to be as long

    @property
    def num_equations(self) -> int:
        """T."""
        return len(self.length)

    def transitions(self, previous: Array, start: Any) -> Array:
        """Equations from ``start``."""
        t = (start + jnp.arange(previous.shape[0])).reshape(-1, *(1,) * (previous.ndim - 1))
        return previous + 0.05 * (jnp.sin(t / 10) - previous**3)


@pytree
@dataclass(frozen=True)
class Coarse(Decay):
    """The same with two larger steps for a block."""

    def coarse(self, previous: Array, start: Any, size: int) -> Array:
        """Two steps of half a block."""
        for i in range(2):
            previous = previous + 0.025 * size * (jnp.sin((start + i * size / 2) / 10) - previous**3)
        return previous


def system(kind: type[Decay] = Coarse, num_equations: int = 60) -> Any:
    return kind(jnp.asarray([[0.5, -1.0], [1.2, 0.1]], jnp.float32), jnp.zeros(num_equations))


@pytest.mark.parametrize("kind", [Decay, Coarse])
def test_few_rounds_where_the_coarse_pass_is_near(kind: type[Decay]) -> None:
    assert isinstance(system(kind), CoarseMarkovSystem) == (kind is Coarse)
    solution = solve(system(kind), Parareal(num_blocks=12))
    np.testing.assert_allclose(solution.value, solve(system(kind), CachedSequential()).value, atol=2e-6)
    assert int(solution.stats.num_iterations) <= (8 if kind is Coarse else 11) < 13
    assert int(solution.stats.num_steps) == (5 + 12) * int(solution.stats.num_iterations)


@pytest.mark.parametrize("num_equations", [60, 58])
def test_a_block_more_is_exact_after_each_round(num_equations: int) -> None:
    """However bad the coarse pass is; the last block may be shorter."""

    @pytree
    @dataclass(frozen=True)
    class Bad(Decay):
        def coarse(self, previous: Array, start: Any, size: int) -> Array:
            return 3.0 - 2.0 * previous

    exact = solve(system(Bad, num_equations), CachedSequential()).value
    for rounds in (1, 3):
        partial = solve(system(Bad, num_equations), Parareal(num_blocks=6), max_steps=rounds, throw=False)
        np.testing.assert_allclose(partial.value[: 10 * rounds], exact[: 10 * rounds], atol=1e-6)
        assert partial.outcome is Status.MAX_STEPS_REACHED
        assert np.all(np.asarray(partial.stats.frontier) >= 10 * rounds)
    solution = solve(system(Bad, num_equations), Parareal(num_blocks=6, tol=0.0))
    assert int(solution.stats.num_iterations) <= 7
    np.testing.assert_allclose(solution.value, exact, atol=1e-6)


def test_one_block_is_the_recurrence_itself() -> None:
    for num_blocks in (1, 60):
        solution = solve(system(num_equations=60), Parareal(num_blocks=num_blocks))
        np.testing.assert_allclose(solution.value, solve(system(), CachedSequential()).value, atol=2e-6)


def test_derivatives_go_through_the_solution() -> None:
    def end(initial: Array, solver: Any) -> Array:
        return jnp.sum(solve(replace(system(), initial_state=initial), solver).value[-1])

    initial = system().initial_state
    found = jax.grad(end)(initial, Parareal(num_blocks=12))
    np.testing.assert_allclose(found, jax.grad(end)(initial, CachedSequential()), atol=1e-5)


def test_no_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="num_blocks must be at least 1, not 0"):
        Parareal(num_blocks=0)
