"""The theorem, on every registered solver and every system of the bank that it fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import (
    SOLVERS,
    AffineMarkovSystem,
    MarkovSystem,
    QuasiNewton,
    SegmentedSystem,
    Sequential,
    Status,
    TraceOptions,
    fits,
    solve,
)
from tests.kit.bank import (
    SOLVABLE,
    SOLVABLE_BY_DERIVATIVES,
    affine_chain,
    as_affine,
    chain,
    contractive_link,
    counting_link,
    coupled,
    linear_closed_form,
    linear_link,
    nan_answer,
    one_sample,
    tiny_made,
)

OF_ORDER_ONE = (MarkovSystem, AffineMarkovSystem)
NAMES = [name for name, kind in SOLVERS.items() if kind.requires is not SegmentedSystem]  # see test_segmented.py
# Options that small systems exercise: several blocks, and a short last one.
OPTIONS = {
    "gs_jacobi": {"block_size": 3},
    "sliding_gs_jacobi": {"block_size": 3},
    "jacobi_gs": {"block_size": 3},
    "cached_sequential": {"chunk_size": 3},
    "windowed": {"solver": QuasiNewton(), "memory_mib": 0.0015},
}


def make(name, **options):
    return SOLVERS[name](**{**OPTIONS.get(name, {}), **options})


def pairs():
    for solver, kind in SOLVERS.items():
        systems = {**SOLVABLE, **(SOLVABLE_BY_DERIVATIVES if kind.requires in OF_ORDER_ONE else {})}
        for system, build in systems.items():
            if fits(kind, build(2, 1, 0)):
                yield solver, system


def fitting(name):
    """A builder of systems, (num_equations, batch, seed, dtype) -> system, that the solver fits."""
    return next(build for build in (tiny_made, coupled, affine_chain) if fits(SOLVERS[name], build(2, 1, 0)))


def fitted(name, system):
    """A Chain that is linear in its state, as a system that the solver fits."""
    return system if fits(SOLVERS[name], system) else as_affine(system)


def assert_close(x, reference, atol=2e-5):
    for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(reference), strict=True):
        scale = 1.0 + float(jnp.max(jnp.abs(b), initial=0))
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=atol * scale)


@jax.jit
def sweep(system, x):
    return system.sweep(x)


def substitute(system):
    """Forward substitution in the plainest form: the definition of the answer."""
    x = jax.tree.map(np.array, system.initial_guess())
    for t in range(system.num_equations):
        y = sweep(system, jax.tree.map(jnp.asarray, x))
        for old, new in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
            old[t] = new[t]
    return x


# Few sizes and many seeds: every new size compiles anew, which takes long where there are scans to compile.
@pytest.mark.parametrize("size", [(11, 3), pytest.param((4, 1), marks=pytest.mark.slow)], ids=["11x3", "4x1"])
@pytest.mark.parametrize(("name", "system_name"), list(pairs()))
@settings(max_examples=4)
@given(seed=st.integers(0, 1000))
def test_same_answer_within_the_bound(name, system_name, size, seed):
    num_equations, batch = size
    system = {**SOLVABLE, **SOLVABLE_BY_DERIVATIVES}[system_name](num_equations, batch, seed)
    solver = make(name)
    reference = substitute(system)
    solution = solve(system, solver, trace=TraceOptions(reference))
    assert solution.outcome is Status.CONVERGED
    assert solution.stats.num_iterations <= solver.max_steps(system)
    assert_close(solution.value, reference)
    assert np.all(np.asarray(solution.stats.steps_to_convergence) >= 1)
    assert int(solution.stats.steps_to_convergence.max()) == int(solution.stats.num_steps)
    # The frontier may not promise more than is there, at any step.
    trace = jax.tree.map(np.asarray, solution.trace)
    count = int(solution.stats.num_iterations)
    full = trace.frontier[:count] >= num_equations
    assert np.all(trace.error[:count][full] <= 2e-5 * (1 + np.abs(jax.tree.leaves(solution.value)[0]).max()))
    assert np.all(np.diff(trace.frontier[:count], axis=0) >= 0)
    assert np.all(trace.num_steps[:count] > 0)
    assert np.all(trace.num_steps[count:] == -1)


@pytest.mark.parametrize("name", NAMES)
def test_frontier_marks_an_exact_prefix(name):
    system = fitting(name)(9, 2, 3)
    reference = solve(system, Sequential()).value
    solver = make(name)
    for steps in range(1, solver.max_steps(system) + 1):
        partial = solve(system, solver, max_steps=steps, throw=False)
        for sample, frontier in enumerate(np.asarray(partial.stats.frontier)):
            assert frontier >= 1
            np.testing.assert_allclose(
                partial.value[:frontier, sample], reference[:frontier, sample], rtol=0, atol=1e-5
            )


@pytest.mark.parametrize("name", ["sequential", "jacobi"])
@settings(max_examples=6)
@given(shape=st.sampled_from([(1, 1), (17, 1), (20, 5)]), seed=st.integers(0, 99))
def test_sweep_solvers_agree_bit_for_bit(name, shape, seed):
    num_equations, batch = shape
    system = tiny_made(num_equations, batch, seed)
    naive = substitute(system)
    np.testing.assert_array_equal(solve(system, make(name)).value, naive)


@pytest.mark.parametrize("name", NAMES)
def test_closed_form(name):
    system = chain(linear_link, 10, 2, 5)
    value = solve(fitted(name, system), make(name)).value
    np.testing.assert_allclose(value.reshape(10, 2), linear_closed_form(system), atol=1e-5)


def test_worst_case_needs_every_step():
    system = chain(counting_link, 12, 2, 0, guess=-1.0)
    solution = solve(system, SOLVERS["jacobi"]())
    assert int(solution.stats.num_steps) == 13
    np.testing.assert_array_equal(solution.value[:, 0], np.arange(1, 13))


def test_contraction_needs_few_steps():
    system = chain(contractive_link, 200, 3, 1)
    assert int(solve(system, SOLVERS["jacobi"]()).stats.num_steps) < 40


@pytest.mark.parametrize("name", [name for name in SOLVERS if fits(SOLVERS[name], SOLVABLE["overflowing"](2, 1, 0))])
def test_overflowing_guesses_are_reset_and_counted(name):
    system = SOLVABLE["overflowing"](10, 2, 0)
    swept = system.sweep(system.sweep(system.sweep(system.initial_guess())))
    assert np.all(np.isnan(swept))  # or this system tests nothing
    solution = solve(system, make(name))
    assert solution.outcome is Status.CONVERGED
    assert_close(solution.value, substitute(system))
    if name != "sequential":  # whose guesses stay as they were
        assert int(solution.stats.guess_resets) > 0


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_never_success(name):
    solution = solve(fitted(name, nan_answer(9, 3, 4)), make(name), throw=False)
    assert solution.outcome is Status.NONFINITE
    np.testing.assert_array_equal(solution.sample_status, [Status.NONFINITE, Status.CONVERGED, Status.CONVERGED])
    healthy = solve(fitted(name, chain(linear_link, 9, 3, 4)), make(name))
    np.testing.assert_allclose(solution.value[:, 1:], healthy.value[:, 1:], atol=1e-5)
    assert np.all(np.isnan(solution.value[2, 0]))


@pytest.mark.parametrize("name", NAMES)
def test_all_nan_is_never_success(name):
    system = chain(linear_link, 5, 2, 0)
    system = type(system)(system.link, system.inputs * jnp.nan, system.guess)
    assert solve(fitted(name, system), make(name), throw=False).outcome is Status.NONFINITE


@pytest.mark.parametrize("name", NAMES)
def test_float64(name, x64):
    system = fitting(name)(8, 2, 1, dtype=jnp.float64)
    solution = solve(system, make(name, tol=1e-13) if make(name).tol else make(name))
    assert solution.value.dtype == jnp.float64
    np.testing.assert_allclose(solution.value, substitute(system), rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_jit_and_vmap(name):
    solver = make(name)
    systems = [fitting(name)(8, 2, seed) for seed in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *systems)
    together = jax.jit(jax.vmap(lambda system: solve(system, solver)))(stacked)
    for i, system in enumerate(systems):
        alone = jax.jit(lambda system: solve(system, solver))(system)
        np.testing.assert_allclose(together.value[i], alone.value, atol=1e-5)
        assert int(together.status[i]) == int(alone.status) == Status.CONVERGED
        assert int(together.stats.num_steps[i]) <= solver.max_steps(system) * 8


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_depend_on_their_batch(name):
    system = fitting(name)(10, 4, 2)
    whole = solve(system, make(name)).value
    for i in range(4):
        alone = solve(one_sample(system, i), make(name)).value
        np.testing.assert_allclose(whole[:, i : i + 1], alone, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_equations", [0, 1])
def test_shortest_systems(name, num_equations):
    system = chain(linear_link, num_equations, 2, 0)
    solution = solve(fitted(name, system), make(name))
    assert solution.outcome is Status.CONVERGED
    np.testing.assert_array_equal(solution.value.reshape(system.inputs.shape), system.inputs)


@pytest.mark.parametrize("name", NAMES)
def test_resumed_equals_uninterrupted(name):
    system, solver = fitting(name)(9, 2, 6), make(name)
    whole = solve(system, solver, trace=TraceOptions())
    first = solve(system, solver, max_steps=1, throw=False, trace=TraceOptions())
    rest = solve(system, solver, state=first.state)
    for a, b in zip(
        jax.tree.leaves((whole.value, whole.stats)), jax.tree.leaves((rest.value, rest.stats)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    count = int(whole.stats.num_iterations)
    np.testing.assert_array_equal(whole.trace.frontier[:count], rest.trace.frontier[:count])


@pytest.mark.parametrize("name", NAMES)
def test_work_and_depth_are_counted(name):
    system = chain(counting_link, 12, 1, 0, guess=-1.0)
    stats = solve(fitted(name, system), make(name)).stats
    expected = {
        "sequential": (12, 12.0),
        "cached_sequential": (12, 1.0),
        "jacobi": (13, 13.0),
        "gs_jacobi": (16, 4.0),  # four blocks of three, three steps and a check each, a quarter sweep a step
        "jacobi_gs": (20, 10.0),  # five rounds of one sweep and three cached steps
        "newton": (2, 4.0),  # the answer and a check, each with a derivative
        "quasi_newton": (2, 4.0),
        "picard": (2, 2.0),  # here the Jacobians are the identity
        "parallel_scan": (1, 2.0),  # checked in the same step
        "dense_newton": (2, 26.0),  # a derivative for each of twelve values
    }
    if name in expected:
        assert (int(stats.num_steps), pytest.approx(float(stats.sweep_equivalents))) == expected[name]
    assert float(stats.function_evaluations) == pytest.approx(12 * float(stats.sweep_equivalents))
