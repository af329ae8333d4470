"""A solve that is followed: what is seen of it, where it stops, and that it is the solve that it would be otherwise."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from runners.measure.timing import CompiledSolve, Slice, follow
from runners.measure.way import Way, by_traced_program, step_by_step, stops_pay
from solvers import CachedSequential, GSJacobi, Jacobi, Sequential, Solver, Status, TraceOptions, solve
from solvers.choosing.pilot import Pilot
from solvers.choosing.program import Program
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


def ways(system: Any, solver: Any, every: int = 2) -> tuple[Way, Way]:
    """The way of a solve that is stopped after each step, and of one that traces itself."""
    reference = solve(system, Sequential(), throw=False).value
    compiled, traced = (CompiledSolve(system, solver, trace=t) for t in (None, TraceOptions(reference)))
    stopped = step_by_step(compiled, reference, lambda piece: piece, every, None)
    return stopped, by_traced_program(traced, lambda piece: piece, every, None)


@pytest.mark.parametrize("solver", [Jacobi(), GSJacobi(block_size=3), CachedSequential(chunk_size=2), Jacobi(tol=0.1)])
def test_both_ways_of_tracing_give_the_same(solver: Any) -> None:
    stopped, traced = ways(chain(), solver)
    for mine, other in zip(stopped.trace, traced.trace, strict=True):
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == other.dtype
    assert [piece.iteration for piece in stopped.pieces] == [piece.iteration for piece in traced.pieces]


def test_a_way_that_its_time_limit_ends_has_where_it_ended() -> None:
    compiled = CompiledSolve(chain(), Jacobi())
    way = step_by_step(compiled, solve(chain(), Jacobi()).value, lambda piece: piece, 3, 0.0)
    assert [piece.iteration for piece in way.pieces] == [1]
    assert len(way.trace.num_steps) == 1


def test_stops_are_where_they_were_asked_for_beyond_as_many_iterations_as_equations() -> None:
    pieces = CompiledSolve(chain(), GSJacobi(block_size=3)).slices(1)
    assert [piece.iteration for piece in pieces] == [*range(1, T + 4)]


def test_both_ways_of_tracing_give_the_same_where_values_are_not_finite() -> None:
    system = Chain(lambda x, b: jnp.where(x > 1e3, jnp.inf, 0.5 * x + b), jnp.ones((T, 2)), jnp.full((T, 2), 1e4))
    stopped, traced = ways(system, Jacobi())
    assert np.isinf(traced.trace.residual).any()
    jax.tree.map(np.testing.assert_array_equal, stopped.trace, traced.trace)


def test_stops_are_made_where_they_cost_less_than_a_program() -> None:
    compiled = CompiledSolve(chain(), Jacobi())
    compiled.compile_s = 1.0
    assert stops_pay(compiled, 100, 0.1, is_timed=False)
    assert not stops_pay(compiled, 100, 0.1, is_timed=True)
    assert stops_pay(compiled, 100, 100.0, is_timed=True)
    assert not stops_pay(compiled, 10_000, 1e5, is_timed=True)
    assert not stops_pay(compiled, 0, 0.0, is_timed=False)


def compiled_solve(solver: Solver) -> None:
    follow(CompiledSolve(chain(), solver), iteration)


def flown(solver: Solver) -> None:
    program = Program(chain(), solver)
    for quick in (True, False):
        Pilot(program, quick).fly(1.0)


@pytest.mark.parametrize("use", [compiled_solve, flown])
def test_programs_go_with_those_who_made_them(use: Callable[[Solver], None]) -> None:
    """Each takes memory maps, of which a process has 65,530 on Linux: as many as some hundred programs need."""
    alive = []
    for i in range(4):
        use(Jacobi(tol=2.0**-i))
        gc.collect()
        alive.append(len(jax.devices()[0].client.live_executables()))
    assert alive[1:] == alive[1:2] * 3  # the first leaves what all of them use
