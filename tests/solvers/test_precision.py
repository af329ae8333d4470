"""Products of float32 numbers in a solve: in float32 where a device would round factors, unless JAX was told."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers import Jacobi, advance, from_function, solve, start
from solvers.trees.precision import matmul_precision


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are traced as for a GPU, and those that are run too, on the processor."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def lower(size: int, dtype: Any = jnp.float32) -> jax.Array:
    """A strictly lower triangular matrix. Each test has a size of its own, as JAX keeps what it has traced."""
    return jnp.tril(jax.random.normal(jax.random.key(size), (size, size), dtype), -1) / size


def tanh_system(weights: jax.Array) -> Any:
    def equations(x: jax.Array, weights: jax.Array) -> jax.Array:
        before = jnp.pad(x, ((2, 0), (0, 0)))[:-1].T[:, None]  # a causal convolution is a product too
        convolved = jax.lax.conv_general_dilated(before, jnp.ones((1, 1, 2), x.dtype) / 8, (1,), "VALID")
        return weights @ jnp.tanh(x) + convolved[:, 0].T + 1

    return from_function(equations, jnp.zeros((len(weights), 2), weights.dtype), weights, check=False)


def precisions(traced: Any) -> set[str]:
    """What the products of a program for a GPU ask for."""
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    found = re.findall(r"(?:dot_general|convolution).*?precision(?:_config)? = \[(.*?)\]", text)
    assert len(found) == len(re.findall(r"stablehlo\.(?:dot_general|convolution)", text)) > 0
    return {word for words in found for word in re.findall("DEFAULT|HIGHEST|HIGH", words)}


def of_loop(system: Any) -> set[str]:
    return precisions(advance.trace(system, Jacobi(), start(system, Jacobi()), 5))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("told", "asked"), [(None, "HIGHEST"), ("tensorfloat32", "HIGH"), ("bfloat16", "DEFAULT"), ("float32", "HIGHEST")]
)
def test_a_gpu_multiplies_in_float32_unless_jax_was_told(told: str | None, asked: str) -> None:
    with nullcontext() if told is None else jax.default_matmul_precision(told):
        assert of_loop(tanh_system(lower(11))) == {asked}
        assert matmul_precision() == (told or "float32")


@pytest.mark.usefixtures("gpu")
def test_beside_a_gpu_a_cpu_by_default_asks_for_float32_too() -> None:
    """Arrays may have been put on the GPU one by one, where the program runs then."""
    with jax.default_device(jax.devices("cpu")[0]):
        assert of_loop(tanh_system(lower(12))) == {"HIGHEST"}
        assert matmul_precision() == "float32"


def test_programs_of_a_cpu_are_as_they_were() -> None:
    assert of_loop(tanh_system(lower(13))) == {"DEFAULT"}
    with jax.default_matmul_precision("tensorfloat32"):
        assert matmul_precision() == "float32"


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("compiled", [False, True])
def test_derivatives_multiply_in_float32_too(compiled: bool) -> None:
    def value(weights: jax.Array) -> jax.Array:
        return solve(tanh_system(weights), Jacobi()).value

    inner = jax.jit(value) if compiled else value  # the derivative of a compiled solve is traced after the solve
    size = 15 + compiled
    slope = jax.jit(jax.grad(lambda weights: inner(weights).sum()))
    assert precisions(slope.trace(lower(size))) == {"HIGHEST"}


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_no_bit_changes_where_a_device_rounds_no_factor(dtype: str, x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = lower(8, jnp.dtype(dtype))
    plain = solve(tanh_system(weights), Jacobi()).value
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    asked = solve(tanh_system(weights), Jacobi()).value  # a system of its own, whose programs are too
    assert asked.dtype == dtype
    np.testing.assert_array_equal(np.asarray(plain), np.asarray(asked))
