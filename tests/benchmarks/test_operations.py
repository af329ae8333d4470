"""The operations of a traced program, against those that can be counted by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks.gpu.operations import Operations, operations, operations_of_a_step

MATRIX = jnp.ones((4, 4))
PRODUCT = 2 * 4 * 4 * 4


def product(x):
    return x @ MATRIX


def looped(x):
    return lax.fori_loop(0, 10, lambda _, y: product(y), x)


def until_large(x):
    return lax.while_loop(lambda y: y[0, 0] < 9, product, x)


@pytest.mark.parametrize(
    ("function", "flops", "whole"),
    [
        (product, PRODUCT, True),
        (lambda x: jnp.tanh(x) + x, 2 * 16, True),
        (lambda x: x.sum(), 16, True),
        (lambda x: x.astype(int) + 1, 0, True),
        (looped, 10 * PRODUCT, True),
        (jax.jit(looped), 10 * PRODUCT, True),
        (until_large, PRODUCT, False),
        (lambda x: lax.cond(x[0, 0] > 0, product, looped, x), 10 * PRODUCT, True),
        (lambda x: lax.scan(lambda y, _: (until_large(y), None), x, length=3)[0], 3 * PRODUCT, False),
    ],
)
def test_operations_of_loops_are_multiplied_where_their_length_is_known(function, flops, whole):
    assert operations(jax.make_jaxpr(function)(MATRIX).jaxpr) == Operations(flops, whole)


def test_a_convolution_costs_a_product_for_every_place_and_tap():
    image, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    convolved = jax.make_jaxpr(
        lambda x: lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )(image)
    assert operations(convolved.jaxpr).flops == 2 * 8 * 8 * 5 * 3 * 3 * 3


def test_zeros_that_a_transposed_convolution_inserts_are_no_operations():
    image, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((2, 2, 3, 5))
    grown = jax.make_jaxpr(
        lambda x: lax.conv_general_dilated(
            x, kernel, (1, 1), ((1, 1), (1, 1)), lhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )(image)
    assert operations(grown.jaxpr).flops == 2 * 16 * 16 * 5 * 3 * 2 * 2 / 4


def test_a_scatter_and_a_reduction_run_their_program_for_every_number():
    def added(x):
        return jnp.zeros(3).at[jnp.array([0, 1, 1, 2])].add(x)

    assert operations(jax.make_jaxpr(added)(jnp.ones(4)).jaxpr).flops == 4
    assert operations(jax.make_jaxpr(lambda x: jnp.zeros(9).at[:4].set(x))(jnp.ones(4)).jaxpr).flops == 0

    def reduced(x):
        return lax.reduce(x, 1.0, lambda a, b: a * b + a, (0,))

    assert operations(jax.make_jaxpr(reduced)(jnp.ones(4)).jaxpr).flops == 2 * 4


def test_triangular_solves_are_left_out():
    solved = jax.make_jaxpr(lambda x: jax.scipy.linalg.solve_triangular(x, MATRIX))(MATRIX)
    assert operations(solved.jaxpr).flops == 0


def test_a_step_is_a_round_of_the_outer_loop():
    def solve(x):
        return lax.while_loop(lambda y: y[0, 0] < 9, looped, x @ MATRIX)

    assert operations_of_a_step(jax.jit(solve), MATRIX) == Operations(10 * PRODUCT, whole=True)


def test_loops_inside_of_others_are_no_step():
    def solve(x):
        y, _ = lax.scan(lambda y, _: (until_large(y), None), x, length=3)
        return lax.while_loop(lambda y: y[0, 0] < 9, looped, lax.cond(y[0, 0] > 0, until_large, product, y))

    assert operations_of_a_step(jax.jit(solve), MATRIX) == Operations(10 * PRODUCT, whole=True)
