"""A solve that is followed: what is seen of it, where it stops, and that it is the solve that it would be otherwise."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from runners.measure.timing import CompiledSolve, Slice, follow
from solvers import Jacobi, Sequential, Status, solve
from tests.kit.bank import Chain

T = 7


def chain(length: int = T, factor: float = 0.5) -> Chain:
    return Chain(lambda x, b: factor * x + b, jnp.ones((length, 2)), jnp.zeros((length, 2)))


def iteration(piece: Slice) -> int:
    return piece.iteration


@pytest.mark.parametrize(("every", "seen"), [(1, [*range(1, T + 2)]), (3, [3, 6, T + 1]), (100, [T + 1])])
def test_every_so_many_iterations_are_seen_and_the_last_ones(every: int, seen: list[int]) -> None:
    followed = follow(CompiledSolve(chain(), Jacobi()), iteration, every)
    assert followed.seen == seen
    expected = solve(chain(), Jacobi())
    np.testing.assert_array_equal(followed.solution.value, expected.value)
    assert int(followed.solution.stats.num_steps) == int(expected.stats.num_steps)
    assert followed.solution.outcome is Status.CONVERGED


def test_states_are_those_of_a_solve_that_is_stopped_there() -> None:
    followed = follow(CompiledSolve(chain(), Jacobi()), lambda piece: np.asarray(piece.progress.x), every=2)
    for i, x in enumerate(followed.seen[:3]):
        np.testing.assert_array_equal(x, solve(chain(), Jacobi(), max_steps=2 * (i + 1), throw=False).value)


def test_a_time_limit_stops_a_solve_that_is_not_done() -> None:
    compiled = CompiledSolve(chain(), Jacobi())
    stopped = follow(compiled, iteration, 2, limit_s=0.0)
    assert stopped.seen == [2]
    assert stopped.solution.outcome is Status.TIME_LIMIT_REACHED
    assert stopped.seconds > 0
    assert follow(compiled, iteration, 100, limit_s=0.0).solution.outcome is Status.CONVERGED
    limited = CompiledSolve(chain(), Jacobi(), max_steps=2)
    assert follow(limited, iteration, 2, limit_s=0.0).solution.outcome is Status.MAX_STEPS_REACHED


@pytest.mark.parametrize("every", [None, 1])
def test_a_system_without_equations_and_one_that_breaks_at_once_are_seen_once(every: int | None) -> None:
    empty = follow(CompiledSolve(chain(0), Sequential()), iteration, every)
    assert (empty.seen, empty.solution.outcome) == ([0], Status.CONVERGED)
    broken = follow(CompiledSolve(chain(factor=float("nan")), Sequential()), iteration, every)
    assert broken.solution.outcome is Status.NONFINITE


def test_what_observing_takes_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("runners.measure.timing.time.perf_counter", lambda: clock[0])
    compiled = CompiledSolve(chain(), Jacobi())

    def slow(piece: Slice) -> Any:
        clock[0] += 1.0

    assert follow(compiled, slow, every=1, limit_s=0.5).seconds == 0.0
