"""Fresh draws, on equations of which it is known how many steps they take; and the table that is made of steps."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.couplings import FRESH, GREEDY, Case, FreshDraws, Row, class_head, limits, measure, table
from solvers import Jacobi, solve, with_guesses
from solvers.heads.categorical import InverseCDF
from tests.kit.bank import chain, contractive_link, tiny_language, tiny_made

T, B = 64, 8


def test_of_two_classes_that_are_equally_likely_a_fresh_draw_is_right_every_other_time():
    system = tiny_language(T, B, 0, alphabet="ab", head=InverseCDF(2))
    system = dataclasses.replace(system, network=jax.tree.map(jnp.zeros_like, system.network))
    coupled, fresh = solve(system, Jacobi()), solve(with_guesses(system, FreshDraws(1)), Jacobi())
    np.testing.assert_array_equal(coupled.stats.steps_to_convergence, 2)  # logits are as they will be from the first on
    np.testing.assert_array_equal(fresh.value, coupled.value)
    # One value is found in each step, and as many more as are right before the first that is not: one in the mean.
    assert abs(float(jnp.mean(fresh.stats.steps_to_convergence)) - T / 2 - 1) < 5
    assert float(fresh.stats.sweep_equivalents) == 2 * int(fresh.stats.num_steps)


def test_noise_is_new_in_every_step_and_a_samples_own():
    system = tiny_made(12, 2, 0)
    x, guess = system.initial_guess(), jax.jit(lambda x, known: FreshDraws(0).guess(system, x, x, known))
    first, second = (guess(x, jnp.array(known)) for known in ([1, 1], [2, 1]))
    assert bool(jnp.all(first[:, 0] != second[:, 0]))
    np.testing.assert_array_equal(first[:, 1], second[:, 1])
    assert bool(jnp.all(first[:, 0] != first[:, 1]))


def test_fresh_draws_need_something_to_draw_from():
    with pytest.raises(ValueError, match=r"^fresh draws go with an AutoregressiveSystem, not with Chain$"):
        with_guesses(chain(contractive_link, 5, 2, 0), FreshDraws(0))


def test_every_coupling_gives_the_sample_of_forward_substitution():
    network = tiny_language(12, 1, 0, num_layers=1).network
    rows = list(measure("tiny", Case(network, class_head(5), (0.0, 0.8))))
    assert [row.coupling for row in rows] == [GREEDY, "gumbel", "inverse_cdf", FRESH]
    assert all(row.mismatched == 0 and max(row.steps) <= 13 for row in rows)
    assert all(limit.met for limit in limits(rows))


def test_the_table_holds_steps_side_by_side():
    rows = [
        Row("text", 0.0, GREEDY, 100, (50, 50), 0, 0.0),
        Row("text", 0.5, "gumbel", 100, (30, 50), 0, 0.0),
        Row("text", 0.5, "inverse_cdf", 100, (20, 30), 3, 1.0),
        Row("text", 0.5, FRESH, 100, (40, 60), 0, 0.0),
    ]
    assert table(rows).splitlines()[2:] == [
        "| text | 100 | 0 (`argmax`) | 50 (2.00) |  |  |  |",
        "| text | 100 | 0.5 | 40 (2.50) | 25 (4.00) | 50 (2.00) | 2.00 |",
    ]
    assert [limit.what for limit in limits(rows) if not limit.met] == ["values that differ, text at 0.5, inverse_cdf"]
