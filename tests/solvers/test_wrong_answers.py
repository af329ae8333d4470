"""A wrong answer is never called converged: wide integers, samples that read each other, limits out of proportion."""

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers import (
    SOLVERS,
    Anderson,
    BrokenSystemError,
    CachedSequential,
    GSJacobi,
    Jacobi,
    Sequential,
    Status,
    TraceOptions,
    TriangularAnderson,
    check_system,
    fits,
    from_function,
    solve,
)
from solvers.equations import compare
from solvers.iterate import iterate
from solvers.trees.pytree import pytree
from tests.kit.bank import Driven, chain, counting_link, linear_link

COUNTED = [(2**26, "int32"), (2**26, "uint32"), (115, "int8"), (2**60, "int64"), (2**64 - 12, "uint64")]

BY_DERIVATIVES = {"newton", "quasi_newton", "picard", "elk", "quasi_elk", "windowed", "dense_newton"}


def counting(first, dtype):
    """x_t = x_{t-1} + 1 as a recurrence: the numbers that follow ``first``."""
    start = jnp.full(2, first, dtype)
    return Driven(lambda x, step, _: x + step, jnp.ones((10, 2), dtype), start)


@pytest.mark.parametrize("name", [name for name in SOLVERS if fits(SOLVERS[name], counting(0, "int32"))])
def test_integers_are_counted_exactly_or_refused(name):
    for first, dtype in COUNTED:
        with jax.enable_x64(True) if "64" in dtype else contextlib.nullcontext():
            system = counting(first, dtype)
            if name in BY_DERIVATIVES:
                with pytest.raises(ValueError, match="the state has no floating-point values"):
                    solve(system, SOLVERS[name]())
                return
            solution = solve(system, SOLVERS[name]())
            assert solution.value.dtype == dtype
            counted = [[first + 1 + t] * 2 for t in range(10)]
            np.testing.assert_array_equal(solution.value, np.array(counted, dtype), err_msg=f"{dtype} from {first}")


@pytest.mark.parametrize("name", [name for name in SOLVERS if fits(SOLVERS[name], chain(linear_link, 2, 1, 0))])
def test_an_equation_that_was_solved_last_is_not_taken_for_unread(name):
    """All but the first equation agree with a first guess of zeros until the first has a value of its own."""
    system = chain(linear_link, 6, 2, 0)
    alone = dataclasses.replace(system, inputs=jnp.zeros_like(system.inputs).at[0].set(1.0))
    solution = solve(alone, SOLVERS[name]())
    np.testing.assert_allclose(solution.value, 0.5 ** np.arange(6.0)[:, None].repeat(2, axis=1), rtol=1e-6)


@pytest.mark.parametrize("solver", [Sequential(), Jacobi(), Jacobi(damping=0.5), Anderson(), Jacobi(tol=1.0)])
def test_integers_of_functions_are_counted_exactly(solver):
    first = 2**26
    system = from_function(lambda x, start: jnp.pad(x + 1, (1, 0))[:-1] + start, jnp.zeros(10, int), _first_only(first))
    np.testing.assert_array_equal(solve(system, solver).value, [first + t for t in range(10)])


def _first_only(first):
    return jnp.zeros(10, int).at[0].set(first)


@pytest.mark.parametrize("solver", [Sequential(), Jacobi(), Jacobi(damping=0.5), Anderson()])
def test_truth_values_alternate(solver):
    system = from_function(lambda x: ~jnp.concatenate([jnp.zeros(1, bool), x[:-1]]), jnp.zeros(9, bool))
    np.testing.assert_array_equal(solve(system, solver).value, [True, False] * 4 + [True])


def test_steps_too_small_for_a_tolerance_in_single_precision_are_counted_in_double(x64):
    start = jnp.ones(1)
    system = from_function(lambda x, start: jnp.concatenate([start, x[:-1]]) + 1e-13, jnp.ones(10), start)
    np.testing.assert_allclose(solve(system, Jacobi()).value - 1, 1e-13 * np.arange(1, 11), rtol=1e-2)


def gated(num_equations=32, batch=4):
    """Each sample reads the mean of its batch, more or less, so that samples are done at different times."""
    weight = jax.random.normal(jax.random.key(0), (num_equations, 1))
    noise = jax.random.normal(jax.random.key(1), (num_equations, batch))
    return from_function(_gated, jnp.zeros((num_equations, batch)), weight, noise)


def _gated(x, weight, noise):
    before = jnp.pad(x, ((1, 0), (0, 0)))[:-1]
    gate = jnp.linspace(0.0, 1.0, x.shape[1])
    return jnp.round(2 * jnp.tanh(gate * (before + weight * before.mean(axis=1, keepdims=True)) + noise))


@pytest.mark.parametrize(
    "solver", [Sequential(), Jacobi(), Jacobi(damping=0.5), Jacobi(tol=1e-3), Anderson(), SOLVERS["dense_newton"]()]
)
def test_samples_that_read_each_other_are_solved_together_or_not_called_converged(solver):
    system = gated()
    plain = system.initial_guess()
    for _ in range(system.num_equations + 1):
        plain = system.sweep(plain)
    np.testing.assert_array_equal(system.sweep(plain), plain)
    solution = solve(system, solver, throw=False)
    if solution.outcome is Status.CONVERGED:
        np.testing.assert_allclose(solution.value, plain, atol=1e-5)
    else:
        assert solution.outcome is Status.MAX_STEPS_REACHED
    if isinstance(solver, Sequential):
        assert solution.outcome is Status.CONVERGED


def test_samples_that_read_each_other_are_told_by_name():
    with pytest.raises(BrokenSystemError, match="other samples change with those .*; samples must not read each other"):
        check_system(gated())


@pytest.mark.parametrize(("reads", "read"), [(0, 5), (5, 0), (4, 5), (6, 2)])
def test_one_sample_that_reads_another_is_found_wherever_they_are(reads, read):
    with pytest.raises(BrokenSystemError, match="samples must not read each other"):
        check_system(_behind_the_first(reads, read))


def _behind_the_first(reads, read):
    def function(x):
        before = jnp.pad(x, ((1, 0), (0, 0)))[:-1]
        return before.at[1:, reads].add(before[1:, read])

    return from_function(function, jnp.zeros((3, 7)))


def test_a_difference_that_is_flushed_to_zero_is_a_difference():
    """Between numbers near the least there is; their logarithms are far apart."""
    first, guess = np.float32(1.5 * 2.0**-126), np.float32(1.25 * 2.0**-126)
    system = from_function(
        lambda x, first: jnp.stack([first, jnp.log(x[0])]), jnp.array([guess, jnp.log(guess)]), jnp.float32(first)
    )
    solution = solve(system, Jacobi())
    np.testing.assert_array_equal(solution.value, system.sweep(solution.value))
    np.testing.assert_allclose(solution.value[1], np.log(first), rtol=1e-5)


def test_differences_that_are_not_flushed_are_what_they_are():
    """Neighbours in half precision differ by less than its least normal number, and may be within a tolerance."""
    x = jnp.full((3, 2), 2e-4, jnp.float16)
    gap = 2.0**-23
    assert jnp.finfo(jnp.float16).tiny > gap
    np.testing.assert_array_equal(compare(x + jnp.float16(gap), x, 3).residual, [gap, gap])


def test_states_of_eight_bits_are_compared():
    x = jnp.ones((3, 2), jnp.float8_e4m3fn)
    difference = compare(x.at[1, 0].set(2.0), x, 3)
    np.testing.assert_array_equal(difference.residual.astype(jnp.float32), [1.0, 0.0])
    np.testing.assert_array_equal(difference.matching, [1, 3])


class CountsOn(Jacobi):
    """Its frontier goes past the end."""

    def step(self, system, x, state, frontier):
        x, state, info = super().step(system, x, state, frontier)
        return x, state, info._replace(frontier=jnp.where(info.frontier == system.num_equations, 99, info.frontier))


def test_a_frontier_past_the_end_is_the_end():
    solution = solve(chain(linear_link, 5, 2, 0), CountsOn())
    assert solution.outcome is Status.CONVERGED


def test_a_sample_that_is_taken_up_again_has_not_converged_in_any_step():
    for steps in range(1, 33):
        solution = solve(gated(), Jacobi(), max_steps=steps, throw=False)
        done = np.asarray(solution.sample_status) == Status.CONVERGED
        np.testing.assert_array_equal(np.asarray(solution.stats.steps_to_convergence) >= 0, done)


@pytest.mark.parametrize("solver", [Jacobi(), CachedSequential(), GSJacobi(block_size=5)])
def test_no_trace_is_longer_than_a_solver_can_go_on(solver):
    system = chain(counting_link, 12, 2, 0, guess=-1.0)
    bound = solver.max_steps(system)
    solution = solve(system, solver, max_steps=10_000_000, trace=TraceOptions())
    assert solution.trace.residual.shape == (bound, 2)
    cut = solve(system, solver, max_steps=1, trace=TraceOptions(), throw=False)
    resumed = solve(system, solver, max_steps=10_000_000, state=cut.state)
    assert resumed.trace.residual.shape == (bound, 2)
    assert int(resumed.stats.num_iterations) == int(solution.stats.num_iterations)


def test_a_first_guess_that_is_not_finite_is_taken_for_zeros():
    system = chain(linear_link, 9, 2, 0)
    guess = jnp.zeros((9, 2)).at[3].set(jnp.nan).at[5].set(jnp.inf)
    for name in ("sequential", "jacobi", "anderson", "gs_jacobi", "newton"):
        solver = SOLVERS[name]()
        np.testing.assert_array_equal(solve(system, solver, x0=guess).value, solve(system, solver).value)


@pytest.mark.parametrize("tol", [0.0, 1e-3])
def test_a_block_that_overflows_is_not_within_any_tolerance(tol):
    """Its size is infinite then, and beside that any residual would be small."""

    system = Driven(lambda x, step, _: step * x**2, jnp.full((3, 1), 0.5), jnp.full(1, 2.0))
    solution = solve(system, GSJacobi(block_size=2, tol=tol), x0=jnp.full((3, 1), 1e30))
    assert solution.outcome is Status.CONVERGED
    np.testing.assert_array_equal(solution.value, np.full((3, 1), 2.0))


def test_what_has_grown_far_on_is_no_yardstick_for_what_comes_first() -> None:
    """x_t = 2 x_{t-1}, from the solution with an early value off: little beside 2^40, and much beside itself."""
    system = from_function(
        lambda x: jnp.concatenate([jnp.ones_like(x[:1]), 2 * x[:-1]]), jnp.zeros((41, 1), jnp.float32)
    )
    exact = jnp.asarray(2.0 ** np.arange(41), jnp.float32)[:, None]
    for solver in (Jacobi(tol=1e-6), Anderson(), TriangularAnderson(), Sequential()):
        solution = solve(system, solver, x0=exact.at[3].add(1000.0), throw=False)
        assert solution.outcome is Status.CONVERGED
        np.testing.assert_allclose(solution.value, exact, rtol=2e-6)


@pytree
@dataclass(frozen=True)
class SpoiledOnce:
    """x_t = x_{t-1} + 1, where guesses in one block of each sample spoil one step."""

    where: Any  # (B,) the block, 4 equations long
    num_equations: ClassVar[int] = 8
    block_unit: ClassVar[int] = 1

    def initial_guess(self):
        return jnp.zeros((8, self.where.shape[0]))

    def init_cache(self):
        return jnp.zeros(self.where.shape[0])

    def sweep(self, x):
        return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]]) + 1

    def update(self, x, cache, start, size):
        spoils = (x[1] == 1) & (x[0] != 0) & (self.where == start // 4)
        y = jnp.concatenate([cache[None], x[:-1]]) + 1 + 0.0 * jnp.where(spoils, jnp.inf, 0.0)
        return y, y[-1]

    def prefix_caches(self, x, block_size):
        return jnp.concatenate([jnp.zeros_like(x[:1]), x[block_size - 1 : -1 : block_size]])


@pytest.mark.parametrize("where", [(0, 1), (0, 9), (1,)])
def test_a_step_spoiled_in_one_sample_counts_in_none(where):
    """The others wait for it in the same block, so counting it for them would end the solve too early."""
    system, solver = SpoiledOnce(jnp.array(where)), GSJacobi(block_size=4)
    solution = iterate(system, solver, trace=TraceOptions())
    np.testing.assert_array_equal(solution.value, np.arange(1, 9)[:, None] + np.zeros(len(where)))
    assert solution.outcome == Status.CONVERGED
    count = int(solution.stats.num_iterations)
    assert count == solver.max_steps(system)
    assert int(solution.trace.num_steps[count - 1]) == int(solution.stats.num_steps)
