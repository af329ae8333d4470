"""The driver: limits, statuses, traces, slices; and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers import (
    GSJacobi,
    Jacobi,
    JacobiGS,
    NotTriangularError,
    PairingError,
    Sequential,
    SolveError,
    Status,
    TraceOptions,
    advance,
    finish,
    from_function,
    solve,
    solver_name,
    start,
)
from solvers.methods.anderson import Anderson
from solvers.methods.sequential import CachedSequential
from tests.kit.bank import chain, counting_link, linear_link, tiny_made


def test_step_limit():
    system = chain(counting_link, 12, 2, 0, guess=-1.0)
    solution = solve(system, Jacobi(), max_steps=5, throw=False)
    assert solution.outcome is Status.MAX_STEPS_REACHED
    np.testing.assert_array_equal(solution.stats.frontier, [5, 5])
    np.testing.assert_array_equal(solution.stats.steps_to_convergence, [-1, -1])
    with pytest.raises(SolveError, match="step limit"):
        solve(system, Jacobi(), max_steps=5)


def test_divergence_is_told_only_where_termination_is_out_of_reach():
    system = chain(lambda x, b: 50.0 * x + b, 12, 2, 0)
    assert solve(system, Jacobi(), max_steps=11, throw=False).outcome is Status.DIVERGED
    assert solve(system, Jacobi()).outcome is Status.CONVERGED


def test_time_limit_is_the_callers_word():
    system = chain(counting_link, 12, 2, 0, guess=-1.0)
    progress = advance(system, Jacobi(), start(system, Jacobi()), 3)
    assert finish(system, progress, Status.TIME_LIMIT_REACHED).outcome is Status.TIME_LIMIT_REACHED


@pytest.mark.parametrize(
    "solver", [Jacobi(), Sequential(), CachedSequential(5), GSJacobi(4), JacobiGS(4), Anderson()], ids=solver_name
)
def test_slices_equal_one_solve(solver):
    system = tiny_made(12, 3, 0)
    whole = solve(system, solver)
    progress = start(system, solver)
    until = 0
    while bool(progress.unfinished):
        until += 2
        progress = advance(system, solver, progress, jnp.int32(until))
    np.testing.assert_array_equal(finish(system, progress).value, whole.value)


def test_forward_substitution_does_not_measure_the_state_for_a_tolerance():
    """It was 10% slower with one, as each chunk asked how large all values are."""
    system = tiny_made(12, 3, 0)
    rough, exact = CachedSequential(5, tol=1e-2), CachedSequential(5)
    np.testing.assert_array_equal(solve(system, rough).value, solve(system, exact).value)
    assert int(solve(system, rough).stats.num_steps) == int(solve(system, exact).stats.num_steps)
    x = system.initial_guess()
    _, _, info = rough.step(system, x, rough.init(system, x), jnp.zeros(3, jnp.int32))
    meets = jax.make_jaxpr(lambda x: info.meets(rough.tol, x))(x).jaxpr
    assert not any(value in equation.invars for equation in meets.eqns for value in meets.invars)


def test_every_status_has_its_own_sentence():
    assert len({status.sentence for status in Status}) == len(Status)


def test_trace_of_a_known_run():
    system = chain(counting_link, 4, 1, 0, guess=0.0)
    solution = solve(system, Jacobi(), trace=TraceOptions(jnp.arange(1.0, 5.0)[:, None]))
    np.testing.assert_array_equal(solution.trace.residual[:, 0], [1, 1, 1, 1, 0])
    np.testing.assert_array_equal(solution.trace.error[:, 0], [3, 2, 1, 0, 0])
    np.testing.assert_array_equal(solution.trace.frontier[:, 0], [1, 2, 3, 4, 4])
    np.testing.assert_array_equal(solution.trace.num_steps, [1, 2, 3, 4, 5])


def test_no_trace_unless_asked_for():
    assert solve(chain(linear_link, 4, 1, 0), Jacobi()).trace is None


def test_good_first_guess_saves_steps():
    system = tiny_made(12, 2, 0)
    answer = solve(system, Jacobi()).value
    assert int(solve(system, Jacobi(), x0=answer).stats.num_steps) == 1


def test_tolerance_saves_steps():
    system = chain(linear_link, 100, 2, 0)
    exact, rough = solve(system, Jacobi()), solve(system, Jacobi(), tol=1e-2)
    assert int(rough.stats.num_steps) < int(exact.stats.num_steps)
    assert float(jnp.max(jnp.abs(system.sweep(rough.value) - rough.value))) < 0.1


def test_damping_keeps_the_guarantee():
    system = chain(counting_link, 12, 2, 0, guess=-1.0)
    solution = solve(system, Jacobi(damping=0.5))
    assert solution.outcome is Status.CONVERGED
    np.testing.assert_array_equal(solution.value[:, 0], np.arange(1, 13))


def test_anderson_without_a_past_is_jacobi():
    system = tiny_made(12, 2, 0)
    for steps in (1, 4):
        jacobi = solve(system, Jacobi(), max_steps=steps, throw=False).value
        anderson = solve(system, Anderson(history_size=1), max_steps=steps, throw=False).value
        np.testing.assert_allclose(anderson, jacobi, atol=1e-6)


def test_anderson_finds_a_fixed_point_on_the_line_through_two_iterates():
    # x_t = 0.9 s + 1, s the sum of all x_<t: from two iterates the combination with the least residual is known.
    lower = jnp.array([[0.0, 0.0], [0.9, 0.0]])
    system = from_function(lambda x, lower: lower @ x + 1.0, jnp.zeros((2, 1)), lower)
    solution = solve(system, Anderson(history_size=2, regularization=1e-7))
    np.testing.assert_allclose(solution.value[:, 0], [1.0, 1.9], rtol=1e-6)
    assert int(solution.stats.num_steps) <= 3


@pytest.mark.parametrize("solver", [CachedSequential(), GSJacobi(), JacobiGS()])
def test_wrong_pairing_is_refused_with_what_would_fit(solver):
    system = from_function(lambda x: jnp.zeros_like(x), jnp.zeros((3, 1)))
    with pytest.raises(
        PairingError, match="needs a BlockSystem; FunctionSystem is a TriangularSystem; use sequential, "
    ):
        solve(system, solver)


def test_no_system_at_all():
    with pytest.raises(PairingError, match="int is not a TriangularSystem: it needs num_equations"):
        solve(3, Jacobi())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Jacobi(damping=0.0), "damping must be in"),
        (lambda: Jacobi(damping=1.5), "damping must be in"),
        (lambda: GSJacobi(block_size=0), "block_size must be at least 1"),
        (lambda: JacobiGS(block_size=0), "block_size must be at least 1"),
        (lambda: CachedSequential(chunk_size=-1), "chunk_size must be positive"),
        (lambda: Anderson(history_size=0), "history_size must be at least 1"),
        (lambda: Anderson(regularization=0.0), "regularization must be positive"),
        (lambda: Anderson(mixing=0.0), "mixing must be in"),
        (lambda: solve(chain(linear_link, 3, 1, 0), Jacobi(), max_steps=0), "max_steps must be at least 1"),
    ],
)
def test_options_out_of_range(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_block_size_must_fit_the_unit():
    class Rows(type(chain(linear_link, 8, 1, 0))):
        block_unit = 4

    system = chain(linear_link, 8, 1, 0)
    rows = jax.tree_util.register_dataclass(Rows, ["inputs", "guess"], ["link"])(
        system.link, system.inputs, system.guess
    )
    with pytest.raises(ValueError, match="block_size 6 is not a multiple of the block unit, 4; the nearest that is: 8"):
        solve(rows, GSJacobi(block_size=6))


def test_from_function_refuses_what_is_not_triangular():
    with pytest.raises(NotTriangularError, match="equation 0 changes with x_0"):
        from_function(lambda x: 2 * x, jnp.zeros((3, 2)))
    with pytest.raises(NotTriangularError, match="equation 3"):
        from_function(lambda x: jnp.concatenate([0 * x[:3], x[4:5], 0 * x[:1]]), jnp.zeros((5, 2)))
    with pytest.raises(NotTriangularError):
        from_function(lambda x: jnp.roll(x, -1, axis=0), jnp.zeros((500, 2)))
    for truth in (False, True):
        with pytest.raises(NotTriangularError):
            from_function(lambda x: jnp.roll(x, -1), jnp.full(5, truth))


def test_from_function_refuses_another_layout():
    with pytest.raises(ValueError, match=r"expected float32\(3, 2\), found float32\(3,\)"):
        from_function(lambda x: x[:, 0], jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match="disagree on the batch size"):
        from_function(lambda x: x, (jnp.zeros((3, 2)), jnp.zeros((3, 1))))


@pytest.mark.parametrize(("dtype", "factor"), [("bfloat16", 0.5), ("float16", 0.5), ("int8", 1)])
def test_from_function_leaves_plain_numbers_weakly_typed(dtype, factor):
    like = jnp.ones((4, 2), dtype)
    system = from_function(lambda x, a: jnp.roll(x, 1, axis=0).at[0].set(1) * a, like, factor)
    assert solve(system, Jacobi()).value.dtype == dtype


def test_from_function_takes_plain_vectors():
    system = from_function(lambda x: jnp.concatenate([jnp.ones(1), 2 * x[:-1]]), jnp.zeros(6))
    solution = solve(system, Jacobi())
    np.testing.assert_array_equal(solution.value, [1, 2, 4, 8, 16, 32])
    assert solution.stats.frontier.shape == (1,)


@pytest.mark.parametrize("solver", [Sequential(), Jacobi(), Jacobi(damping=0.5), Anderson()])
def test_segments_of_different_shapes(solver):
    def f(x):
        first, second = x
        new_first = jnp.concatenate([jnp.ones_like(first[:1]), 0.5 * first[:-1] + 1])
        total = jnp.sum(first, axis=(0, 2))
        new_second = jnp.stack([total, jnp.tanh(second[0]) + total])
        return new_first, new_second

    like = (jnp.zeros((3, 2, 4)), jnp.zeros((2, 2)))

    class Segments(type(from_function(lambda x: 0 * x, jnp.zeros((2, 1))))):
        num_equations = 5

    segments = jax.tree_util.register_dataclass(Segments, ["like", "args"], ["f"])(f, like, ())
    solution = solve(segments, solver)
    assert int(solution.stats.frontier.min()) >= 4
    np.testing.assert_allclose(solution.value[0][:, 0, 0], [1, 1.5, 1.75])
    np.testing.assert_allclose(solution.value[1][0], 17.0, rtol=1e-6)


def test_memory_of_jacobi_does_not_grow_with_its_steps():
    system = tiny_made(32, 4, 0)

    def temp_bytes(max_steps):
        progress = start(system, Jacobi(), max_steps=max_steps)
        analysis = advance.lower(system, Jacobi(), progress, jnp.int32(max_steps)).compile().memory_analysis()
        return analysis.temp_size_in_bytes + analysis.output_size_in_bytes

    assert temp_bytes(2) == temp_bytes(2000)
    guess = system.initial_guess()
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(system))
    assert temp_bytes(2000) < weights + 40 * guess.nbytes


def closed_over(weight):
    """The last state of a system whose function reads ``weight`` from around it."""

    def f(x):
        return jnp.tanh(weight * jnp.pad(x, ((1, 0), (0, 0)))[:-1]) + 1.0

    return solve(from_function(f, jnp.zeros((20, 3))), Jacobi()).value.sum()


def given(weight):
    """The same, with the weight for an argument."""

    def f(x, weight):
        return jnp.tanh(weight * jnp.pad(x, ((1, 0), (0, 0)))[:-1]) + 1.0

    return solve(from_function(f, jnp.zeros((20, 3)), weight), Jacobi()).value.sum()


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, lambda f: jax.jit(jax.grad(f)), jax.value_and_grad])
def test_values_that_a_function_closes_over_are_arguments(transform):
    weight = jnp.float32(0.5)
    np.testing.assert_allclose(transform(closed_over)(weight), transform(given)(weight), rtol=1e-6)


def test_batches_of_closed_over_values_are_right_or_told_to_be_arguments():
    weights = jnp.array([0.3, 0.5])
    expected = jax.vmap(given)(weights)
    np.testing.assert_allclose(expected, [given(0.3), given(0.5)], rtol=1e-6)
    try:
        found = jax.vmap(closed_over)(weights)
    except ValueError as error:
        assert "pass it in args, from_function(f, like, value)" in str(error)  # noqa: PT017
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_callback_is_told_of_every_step_under_jit_too():
    system, told = chain(counting_link, 6, 2, 0, guess=0.0), []
    solution = solve(system, Jacobi(), callback=told.append)
    assert [int(report.iteration) for report in told] == list(range(1, 8))
    assert [int(report.num_steps) for report in told] == list(range(1, 8))
    np.testing.assert_array_equal(np.stack([report.frontier for report in told])[:, 0], [1, 2, 3, 4, 5, 6, 6])
    np.testing.assert_array_equal(told[-1].residual, solution.stats.residual)
    told.clear()
    jax.jit(lambda system: solve(system, Jacobi(), callback=told.append).value)(system).block_until_ready()
    jax.effects_barrier()
    assert len(told) == 7
