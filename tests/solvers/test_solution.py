"""What a solution says of itself, and how it is asked whether it converged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from solvers import Jacobi, SolveError, Status, solve
from tests.kit.bank import chain, counting_link, pytree_chain


def counting():
    return chain(counting_link, 6, 2, 0, guess=-1.0)


def test_a_solution_prints_as_one_line():
    assert str(solve(counting(), Jacobi())) == (
        "Solution(converged after 7 steps, residual 0.0e+00, value float32(6, 2))"
    )
    assert str(solve(counting(), Jacobi(), max_steps=2, throw=False)).startswith(
        "Solution(max_steps_reached after 2 steps, residual "
    )
    text = str(solve(pytree_chain(5, 2, 0), Jacobi()))
    assert "{'features': 'float32(5, 2, 3)', 'scalar': 'float32(5, 2)'}" in text


def test_a_solution_prints_before_it_is_known():
    told = []
    jax.jit(lambda system: told.append(str(solve(system, Jacobi()))) or system.guess)(counting())
    assert told == ["Solution(float32[6,2], not evaluated yet)"]


def test_an_outcome_prints_as_in_results():
    assert [str(status) for status in Status] == [status.label for status in Status]
    assert f"{solve(counting(), Jacobi()).outcome}" == "converged"


def test_check_raises_where_values_are_known():
    solution = solve(counting(), Jacobi())
    assert solution.check() is solution
    with pytest.raises(SolveError, match="step limit"):
        solve(counting(), Jacobi(), max_steps=2, throw=False).check()


@pytest.mark.parametrize(("limit", "message"), [(None, None), (2, "the solve did not converge; its status is 2")])
def test_check_under_jit_is_an_error_that_is_handed_out(limit, message):
    def run(system):
        return solve(system, Jacobi(), max_steps=limit).check().value[-1, 0]

    error, value = jax.jit(checkify.checkify(run))(counting())
    assert (error.get() or "").startswith(message or "")
    if message is None:
        error.throw()
        assert float(value) == 6.0
    else:
        with pytest.raises(checkify.JaxRuntimeError, match=message):
            error.throw()


def test_throw_says_nothing_under_jit():
    status = jax.jit(lambda system: solve(system, Jacobi(), max_steps=2).status)(counting())
    np.testing.assert_array_equal(status, Status.MAX_STEPS_REACHED)
    assert jnp.ndim(status) == 0
