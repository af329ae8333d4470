"""Windows that slide: past what is done, over equations that begin at the last state, to the same answer."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from models.mcmc.problems import ChainProblem
from solvers import ELK, CachedSequential, Newton, Picard, Status, Windowed, solve
from solvers.solver import Solver
from tests.solvers.test_parareal import Decay, system


@pytest.mark.parametrize(("inner", "mebibytes"), [(Newton(), 0.003), (Picard(), 0.004), (ELK(), 0.006)], ids=str)
def test_the_answer_and_the_bound(inner: Solver, mebibytes: float) -> None:
    chain = system(Decay, 61)
    solver = Windowed(inner, memory_mib=mebibytes, slide=True)
    assert 3 < solver.window_length(chain) < 40
    solution = solve(chain, solver)
    assert solution.outcome is Status.CONVERGED
    assert int(solution.stats.num_steps) <= solver.max_steps(chain) == 62
    np.testing.assert_allclose(solution.value, solve(chain, CachedSequential()).value, atol=1e-5)


def test_in_double_precision(x64: None) -> None:
    chain = Decay(jnp.asarray([[0.5], [1.0]], jnp.float64), jnp.zeros(40))
    solution = solve(chain, Windowed(Picard(), memory_mib=0.004, slide=True))
    np.testing.assert_allclose(solution.value, solve(chain, CachedSequential()).value, atol=1e-5)


def test_steps_are_saved_where_equations_settle_one_after_the_other() -> None:
    chain = system(Decay, 120)
    steps = {
        slide: int(solve(chain, Windowed(Newton(), memory_mib=0.008, slide=slide)).stats.num_steps)
        for slide in (False, True)
    }
    assert steps[True] <= steps[False]


def test_a_sample_that_fails_does_not_hold_up_the_others() -> None:
    chain = system(Decay, 60)
    broken = Decay(chain.initial_state.at[0].set(jnp.nan), chain.length)
    solution = solve(broken, Windowed(Newton(), memory_mib=0.003, slide=True), throw=False)
    assert solution.sample_status.tolist() == [int(Status.NONFINITE), int(Status.CONVERGED)]
    np.testing.assert_allclose(solution.value[:, 1], solve(chain, CachedSequential()).value[:, 1], atol=1e-5)


def test_a_window_does_not_leave_behind_what_was_right_beside_a_value_that_the_step_has_changed() -> None:
    """Where decisions jump, an exact value may come in far from the guess that the equations behind it had met."""
    target, kernel = {"name": "two_wells"}, {"name": "random_walk", "step_size": 1.0}
    system = ChainProblem(num_steps=120, batch_size=4, target=target, kernel=kernel).system(1234)
    solver = Windowed(solver=Newton(jacobian="system"), memory_mib=0.02, slide=True)
    assert solver.window_length(system) < 60
    solution = solve(system, solver)
    assert solution.outcome is Status.CONVERGED
    np.testing.assert_allclose(system.sweep(solution.value), solution.value, atol=1e-5)
