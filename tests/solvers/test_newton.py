"""The Newton family: how fast its members converge, what they do where they do not, and what they need."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.rnn.cells import GRUCell
from models.rnn.systems import ForwardRNN
from solvers import (
    ELK,
    SOLVERS,
    CachedSequential,
    DenseNewton,
    Jacobi,
    MarkovSystem,
    Newton,
    PairingError,
    ParallelScan,
    Picard,
    QuasiELK,
    QuasiNewton,
    Status,
    TraceOptions,
    Windowed,
    advance,
    from_function,
    solve,
    start,
)
from solvers.linear.linearize import diagonals, estimated_diagonals, jacobian_sweeps, jacobians, ravel, transitions
from tests.kit.bank import (
    AffineChain,
    Driven,
    affine_chain,
    chain,
    contractive_link,
    counting_link,
    coupled,
    expansive,
    linear_link,
    markov_ids,
    nan_answer,
    pytree_chain,
    tiny_gru,
    tiny_made,
)

FAMILY = {"newton": Newton(), "quasi_newton": QuasiNewton(), "picard": Picard(), "elk": ELK(), "quasi_elk": QuasiELK()}


def steps_to_solve(system, solver):
    return int(solve(system, solver).stats.num_steps)


def defect(system, x):
    """Max |F(x) - x|."""
    return float(jnp.max(jnp.abs(jax.jit(lambda system, x: system.sweep(x))(system, x) - x)))


def largest_difference(x, y):
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return max(float(np.max(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)))) for a, b in pairs)


def test_newton_converges_quadratically(x64):
    system = tiny_gru(200, 2, 0, gain=1.0, dtype=jnp.float64)
    exact = solve(system, CachedSequential()).value
    solution = solve(system, Newton(tol=1e-12), trace=TraceOptions(exact))
    errors = np.asarray(solution.trace.error[: int(solution.stats.num_iterations)]).max(axis=1)
    assert len(errors) <= 8
    small = errors[:-1] < 1e-2
    assert small.sum() >= 2
    assert np.all(errors[1:][small] <= np.maximum(10 * errors[:-1][small] ** 2, 1e-13))


def test_a_linear_system_takes_one_newton_step_and_its_check():
    system = affine_chain(50, 3, 0, features=3)
    exact = solve(system, CachedSequential()).value
    for solver, steps in ((Newton(), 2), (DenseNewton(), 2), (ParallelScan(), 1)):
        solution = solve(system, solver)
        assert int(solution.stats.num_steps) == steps
        assert largest_difference(solution.value, exact) < 2e-5 * float(jnp.max(jnp.abs(exact)))


def test_approximate_jacobians_take_more_steps_and_get_there():
    system = tiny_gru(100, 2, 1, gain=0.8)
    exact = solve(system, CachedSequential()).value
    steps = {}
    for name in ("newton", "quasi_newton", "picard"):
        solution = solve(system, FAMILY[name])
        assert largest_difference(solution.value, exact) < 1e-5
        steps[name] = int(solution.stats.num_steps)
    assert steps["newton"] < steps["quasi_newton"] < steps["picard"] <= 101
    assert steps["newton"] <= 6


@pytest.mark.parametrize("name", FAMILY)
def test_the_diagonal_is_a_poor_jacobian_here(name):
    """Nothing converges before T by itself; the exact prefix sees to it."""
    system = coupled(30, 2, 0)
    solution = solve(system, FAMILY[name])
    assert int(solution.stats.num_steps) <= 31
    assert (int(solution.stats.num_steps) <= 15) == (name in ("newton", "elk"))
    assert largest_difference(solution.value, solve(system, CachedSequential()).value) < 1e-5


@pytest.mark.parametrize("name", ["newton", "quasi_elk"])
def test_the_solution_as_first_guess_is_confirmed_at_once(name):
    system = tiny_gru(20, 2, 0)
    assert int(solve(system, FAMILY[name], x0=solve(system, CachedSequential()).value).stats.num_steps) == 1


@pytest.mark.parametrize("name", FAMILY)
def test_what_is_called_converged_is(name):
    """Also where deviations grow, and rounding errors in F(x) - x would add up to anything."""
    system = expansive(60, 4, 0, gain=2.5)
    solution = solve(system, FAMILY[name], throw=False)
    assert solution.outcome is Status.CONVERGED
    assert defect(system, solution.value) < 2e-5


def one_step_of_a_filter(system, x, weight, diagonal):
    """The Levenberg-Marquardt step by a plain Kalman filter, equation by equation."""
    y, full = jacobians(system, jnp.concatenate([system.initial_state[None], x[:-1]]), 0)
    num_equations, batch, features = x.shape
    new = np.zeros(x.shape)
    for b in range(batch):
        mean, covariance = np.zeros(features), np.zeros((features, features))
        for t in range(num_equations):
            j = np.diag(np.diag(full[t, b])) if diagonal else np.asarray(full[t, b])
            mean = np.asarray(y[t, b] - x[t, b]) + j @ mean
            covariance = j @ covariance @ j.T + np.eye(features)
            if t == 0:  # known
                covariance = 0 * covariance
            else:
                gain = covariance @ np.linalg.inv(covariance + np.eye(features) / weight)
                mean, covariance = mean - gain @ mean, covariance - gain @ covariance
            new[t, b] = np.asarray(x[t, b]) + mean
    return new


@pytest.mark.parametrize("build", [coupled, affine_chain])
@pytest.mark.parametrize("solver", [ELK(initial_weight=0.7), QuasiELK(initial_weight=0.7)])
def test_elk_steps_are_those_of_a_kalman_filter(x64, solver, build):
    system = build(9, 2, 1, dtype=jnp.float64)
    guess = jax.random.normal(jax.random.key(2), system.initial_guess().shape, jnp.float64)
    found = solve(system, solver, x0=guess, max_steps=1, throw=False).value
    expected = one_step_of_a_filter(system, guess, 0.7, isinstance(solver, QuasiELK))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("damped", "plain"), [(ELK(initial_weight=1e-9), Newton()), (QuasiELK(1e-9), QuasiNewton())])
def test_elk_without_damping_is_newton(damped, plain):
    system = tiny_gru(30, 2, 0)
    found, expected = (solve(system, solver, max_steps=1, throw=False).value for solver in (damped, plain))
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("damped", "plain"), [(ELK(), Newton()), (QuasiELK(), QuasiNewton())])
def test_elk_goes_on_where_newton_overflows(damped, plain):
    system = expansive(200, 2, 0)
    overflowed, solution = solve(system, plain), solve(system, damped)
    assert int(overflowed.stats.guess_resets) > 0
    assert int(solution.stats.guess_resets) == 0
    for found in (overflowed, solution):
        assert defect(system, found.value) < 1e-4


def test_elk_takes_back_what_did_not_help():
    """Of two samples one is easy: its damping fades, while the other's grows."""
    easy, hard = expansive(40, 1, 0, gain=0.5), expansive(40, 1, 0)
    gains = jnp.concatenate([easy.parameters[None], hard.parameters[None]])[:, None]
    both = Driven(easy.link, jnp.repeat(easy.inputs, 2, axis=1), jnp.ones((2, 1)), gains)
    state = solve(both, ELK(), max_steps=4, throw=False).state
    assert float(state.solver_state.weight[0]) < 0.1 < 1.0 < float(state.solver_state.weight[1])


@pytest.mark.parametrize("name", ["newton", "quasi_elk"])
def test_nan_is_not_success(name):
    """The published loop of DEER compares NaN with its tolerance, finds it not larger, and stops."""
    system = tiny_gru(12, 2, 0)
    broken = ForwardRNN(system.cell, system.drive * jnp.nan)
    assert solve(broken, FAMILY[name], throw=False).outcome is Status.NONFINITE
    system = nan_answer(12, 3, 0, where=5)
    solution = solve(system, FAMILY[name], throw=False)
    np.testing.assert_array_equal(solution.sample_status, [Status.NONFINITE, Status.CONVERGED, Status.CONVERGED])


def test_estimated_diagonals_are_unbiased_and_fresh():
    system = affine_chain(5, 2, 0, features=4)
    x = jnp.zeros_like(system.b)

    @partial(jax.jit, static_argnames="probes")
    def estimate(draw, probes):
        return estimated_diagonals(system, x, 0, probes, draw)[1]

    exact = jnp.diagonal(system.a, axis1=-2, axis2=-1)
    first, second = (estimate(jnp.int32(i), probes=1) for i in range(2))
    assert largest_difference(first, second) > 0.1
    many = estimate(jnp.int32(3), probes=4000)
    np.testing.assert_allclose(many, exact, atol=0.1)
    diagonal = AffineChain(system.a * jnp.eye(4), system.b)
    alone = estimated_diagonals(diagonal, x, 0, 1, jnp.int32(0))[1]
    np.testing.assert_allclose(alone, exact, atol=1e-6)  # nothing to cancel: one direction will do


def test_estimated_diagonals_solve():
    system = tiny_gru(40, 3, 0, hidden_size=4, gain=0.5)
    solution = solve(system, QuasiNewton(probes=2))
    assert largest_difference(solution.value, solve(system, CachedSequential()).value) < 1e-5
    np.testing.assert_allclose(float(solution.stats.sweep_equivalents), 3 * int(solution.stats.num_steps))


@pytest.mark.parametrize("build", [coupled, pytree_chain, markov_ids, tiny_gru])
def test_derivatives_agree_with_those_of_the_transition(build):
    system = build(4, 2, 0)
    x = system.initial_guess()
    values, matrices = jacobians(system, x, 0)
    _, diagonal = diagonals(system, x, 0)
    np.testing.assert_allclose(jnp.diagonal(matrices, axis1=-2, axis2=-1), diagonal, atol=1e-6)
    one_by_one = jax.vmap(system.transition)(x, jnp.arange(4))
    for found in (values, transitions(system, x, 0)):
        assert largest_difference(found, one_by_one) < 1e-6
    told = 1 if hasattr(system, "jacobians") else matrices.shape[-1]
    assert jacobian_sweeps(system) == told


def test_told_diagonals_of_real_states_are_taken_as_they_are():
    """In the hot loop nothing is gathered for the sake of complex leaves that there are not."""
    system = affine_chain(4, 2, 0)
    programs = [jax.make_jaxpr(partial(f, start=0)) for f in (partial(diagonals, system), system.jacobian_diagonals)]
    taken, told = (str(program(system.b)).count("gather[") for program in programs)
    assert taken == told


@pytest.mark.parametrize("solver", [ParallelScan(), Newton(), QuasiNewton()])
def test_real_matrices_of_complex_states(solver):
    system = affine_chain(12, 2, 0)
    system = AffineChain(system.a, system.b * (1 + 2j))
    exact = solve(system, CachedSequential()).value
    np.testing.assert_allclose(solve(system, solver).value, exact, atol=1e-5)


def test_states_without_features_or_batch():
    system = Driven(lambda x, b, _: 0.5 * jnp.sin(x) + b, jnp.linspace(0.0, 1.0, 9), jnp.float32(0.0))
    exact = solve(system, Jacobi()).value
    for solver in (Newton(), DenseNewton(), Windowed(QuasiNewton())):
        np.testing.assert_allclose(solve(system, solver).value, exact, atol=1e-6)


def test_class_ids_alone_have_no_derivatives():
    system = Driven(lambda x, b, _: (x + b) % 5, jnp.ones((4, 2), jnp.int32), jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match="no floating-point values, so the system has no derivatives; use jacobi"):
        solve(system, Newton())


# Linear systems


def test_a_scan_refines_what_rounding_left_and_says_when_it_did():
    system = affine_chain(60, 2, 0)
    large = AffineChain(system.a, 1e6 * system.b)
    solution = solve(large, ParallelScan())
    assert int(solution.stats.num_steps) == 1  # the tolerance is relative
    assert int(solve(system, ParallelScan(tol=1e-9), throw=False).stats.num_steps) > 1


def test_products_that_overflow_do_not_spoil_a_solution_that_does_not():
    a = jnp.full((40, 2, 1, 1), 1e30)
    system = AffineChain(a, jnp.zeros((40, 2, 1)))
    solution = solve(system, ParallelScan())
    np.testing.assert_array_equal(solution.value, 0.0)


# Dense


def test_dense_newton_beats_jacobi_in_steps():
    system = tiny_made(36, 2, 0)
    dense, jacobi = solve(system, DenseNewton()), solve(system, Jacobi())
    assert int(dense.stats.num_steps) <= int(jacobi.stats.num_steps)
    np.testing.assert_allclose(dense.value, jacobi.value, atol=1e-5)


def test_dense_newton_on_segments_of_different_shapes():
    def f(x):
        first, ids, second = x
        new_first = jnp.concatenate([jnp.ones_like(first[:1]), 0.5 * jnp.sin(first[:-1]) + 1])
        total = jnp.sum(first, axis=(0, 2))
        new_ids = jnp.stack([(total > 2).astype(ids.dtype)])
        return new_first, new_ids, jnp.stack([total + ids[0], jnp.tanh(second[0]) + total])

    like = (jnp.zeros((3, 2, 4)), jnp.zeros((1, 2), jnp.int32), jnp.zeros((2, 2)))

    class Segments(type(from_function(lambda x: 0 * x, jnp.zeros((2, 1))))):
        num_equations = 6

    segments = jax.tree_util.register_dataclass(Segments, ["like", "args"], ["f"])(f, like, ())
    assert largest_difference(solve(segments, DenseNewton()).value, solve(segments, Jacobi()).value) < 1e-5


def test_a_jacobian_that_is_too_large_is_refused():
    system = tiny_made(600, 2, 0)
    with pytest.raises(
        ValueError, match=r"600 x 600 numbers for each of 2 samples, 3 MiB, more than max_jacobian_mib, 2; use jacobi"
    ):
        solve(system, DenseNewton(max_jacobian_mib=2))


# Windows


def windows(system, length, inner="newton"):
    """A solver whose windows are at most ``length`` long."""
    solver = SOLVERS[inner]()
    _, batch, features = ravel(system.initial_guess()).shape
    floats = solver.floats_per_equation(features) * batch
    return Windowed(solver, memory_mib=(length + 0.5) * floats * 4 / 2**20)


@pytest.mark.parametrize(
    ("inner", "length"), [("newton", 1), ("newton", 100), *((inner, 6) for inner in FAMILY if inner != "elk")]
)
def test_windows_give_the_answer_of_the_whole(inner, length):
    system = tiny_gru(37, 3, 0)
    solver = windows(system, length, inner)
    assert solver.window_length(system) == min(length, 37)
    solution = solve(system, solver)
    assert largest_difference(solution.value, solve(system, CachedSequential()).value) < 1e-5
    assert int(solution.stats.num_iterations) <= solver.max_steps(system)
    assert np.all(np.asarray(solution.stats.frontier) >= 31)


@pytest.mark.parametrize("build", [pytree_chain, affine_chain])
def test_windows_of_any_state(build):
    system = build(13, 2, 0)
    solution = solve(system, windows(system, 5))
    assert largest_difference(solution.value, solve(system, Jacobi()).value) < 1e-5


def test_windows_take_the_steps_of_each_and_the_work_of_all():
    system = affine_chain(12, 1, 0)
    solver = windows(system, 4)
    stats = solve(system, solver).stats
    assert int(stats.num_steps) == 6  # three windows: a step and its check in each
    assert float(stats.sweep_equivalents) == pytest.approx(4.0)
    assert solver.max_steps(system) == 15


def test_a_failed_sample_does_not_hold_up_the_windows_of_others():
    system = nan_answer(20, 3, 0, where=3)
    solution = solve(system, windows(system, 6), throw=False)
    np.testing.assert_array_equal(solution.sample_status, [Status.NONFINITE, Status.CONVERGED, Status.CONVERGED])
    healthy = solve(chain(linear_link, 20, 3, 0), Jacobi()).value
    np.testing.assert_allclose(solution.value[:, 1:], healthy[:, 1:], atol=1e-5)


def test_windows_even_out():
    system = chain(counting_link, 100, 1, 0)
    assert [windows(system, length).window_length(system) for length in (99, 60, 34, 33)] == [50, 50, 34, 25]


# Memory


def shapes_of(num_equations, batch, hidden_size):
    def build():
        kernels = jnp.zeros((2, 3 * hidden_size)), jnp.zeros((hidden_size, 3 * hidden_size))
        cell = GRUCell(*kernels, jnp.zeros(3 * hidden_size))
        return ForwardRNN(cell, jnp.zeros((num_equations, batch, 3 * hidden_size)))

    return jax.eval_shape(build)


def working_memory(solver, num_equations, batch, hidden_size):
    """Bytes that a compiled solve needs beside what goes in and comes out."""
    system = shapes_of(num_equations, batch, hidden_size)
    progress = jax.eval_shape(partial(start, solver=solver), system)
    compiled = advance.lower(system, solver, progress, jax.ShapeDtypeStruct((), jnp.int32)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(("name", "power"), [("quasi_newton", 1), ("newton", 2)])
def test_memory_grows_with_t_and_with_d_or_its_square(name, power):
    solver = FAMILY[name]
    base, longer = working_memory(solver, 500, 2, 32), working_memory(solver, 1000, 2, 32)
    assert longer / base == pytest.approx(2.0, rel=0.1)
    wider = working_memory(solver, 500, 2, 64)
    assert np.log2(wider / base) == pytest.approx(power, abs=0.2)


@pytest.mark.parametrize("name", FAMILY)
def test_solvers_say_what_memory_they_need(name):
    stated = FAMILY[name].floats_per_equation(4) * 4 * 500 * 2
    assert 0.2 * stated < working_memory(FAMILY[name], 500, 2, 4) < stated


def test_windows_keep_within_their_memory():
    num_equations, batch, hidden_size = 20_000, 2, 8
    solver = Windowed(Newton(), memory_mib=0.5)
    state = 4 * num_equations * batch * hidden_size  # the driver's own arithmetic needs a few of these
    bound = 0.5 * 2**20 + 8 * state
    assert working_memory(solver, num_equations, batch, hidden_size) < bound
    assert working_memory(Newton(), num_equations, batch, hidden_size) > 2 * bound


# Refusals


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: QuasiNewton(probes=-1), "probes must be positive, or 0 for exact diagonals, not -1"),
        (lambda: ELK(initial_weight=0.0), "initial_weight must be positive, not 0.0; without damping use newton"),
        (lambda: QuasiELK(increase=1.0), "increase must be more than 1, not 1.0"),
        (lambda: ELK(decrease=0.0), r"decrease must be in \(0, 1\], not 0.0"),
        (lambda: DenseNewton(max_jacobian_mib=0), "max_jacobian_mib must be at least 1, not 0"),
        (lambda: Windowed(memory_mib=0.0), "memory_mib must be positive, not 0.0"),
        (lambda: Windowed(Jacobi()), "solver: Jacobi cannot stand inside Windowed, which takes solvers that state"),
        (lambda: Windowed(Windowed()), "solver: Windowed cannot stand inside Windowed"),
        (lambda: solve(tiny_gru(5, 2, 0), Windowed(memory_mib=1e-6)), "does not hold one equation of 2 samples and 3"),
    ],
)
def test_options_out_of_range(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize("name", [name for name, kind in SOLVERS.items() if kind.requires is MarkovSystem])
def test_a_system_of_another_order_is_refused(name):
    with pytest.raises(PairingError, match=f"{name} needs a MarkovSystem; AutoregressiveSystem is a BlockSystem; use "):
        solve(tiny_made(4, 1, 0), SOLVERS[name]())


def test_a_system_that_is_not_linear_is_refused_by_the_scan():
    sentence = "parallel_scan needs an AffineMarkovSystem; Chain is a MarkovSystem and a BlockSystem; use sequential, "
    with pytest.raises(PairingError, match=sentence):
        solve(chain(contractive_link, 4, 1, 0), ParallelScan())


def test_an_instance_of_an_inner_solver_keeps_its_options():
    solver = Windowed(QuasiNewton(probes=3), tol=1e-5)
    assert solver.inner == QuasiNewton(probes=3, tol=1e-5)
    assert Windowed(ELK()).inner == ELK()
