"""The derivative of a solution: against the derivative of forward substitution, and against finite differences."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import MODELS
from models.made.model import MADEConfig
from solvers import (
    CachedSequential,
    DenseNewton,
    GSJacobi,
    Jacobi,
    Newton,
    PairingError,
    ParallelScan,
    QuasiNewton,
    advance,
    finish,
    from_function,
    solve,
    start,
)
from solvers.systems.autoregressive import AutoregressiveSystem
from solvers.trees.pytree import pytree
from tests.kit.bank import Chain, chain, contractive_link, pytree_chain, pytree_system, tiny_made


def unrolled(system):
    """Forward substitution as a differentiable function, in the plainest form."""
    x = system.initial_guess()
    for t in range(system.num_equations):
        y = system.sweep(x)
        x = jax.tree.map(lambda old, new, t=t: old.at[t].set(new[t]), x, y)
    return x


def loss_of(value):
    """A loss in which every value counts, and counts differently."""
    floats = [leaf for leaf in jax.tree.leaves(value) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum(jnp.sum(jnp.sin(leaf + jnp.arange(leaf.size).reshape(leaf.shape))) for leaf in floats)


def gradient(find, system):
    return jax.jit(jax.grad(lambda system: loss_of(find(system)), allow_int=True))(system)


def assert_same(found, expected, atol=2e-5):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if b.dtype == jax.dtypes.float0:
            assert a.dtype == jax.dtypes.float0
            continue
        np.testing.assert_allclose(a, b, rtol=0, atol=atol * (1 + float(np.max(np.abs(b), initial=0))))


@pytest.mark.parametrize(
    ("solver", "adjoint"),
    [
        (CachedSequential(), None),
        (Newton(), None),
        (QuasiNewton(), Jacobi()),
        (Jacobi(), GSJacobi(4)),
        (Newton(), CachedSequential()),
        (Newton(), Newton()),
    ],
)
def test_order_one(solver, adjoint):
    system = chain(contractive_link, 11, 3, 0)
    found = gradient(lambda system: solve(system, solver, adjoint=adjoint).value, system)
    assert_same(found, gradient(unrolled, system))


@pytest.mark.parametrize("adjoint", [CachedSequential(), ParallelScan()])
def test_several_leaves_with_features(adjoint):
    system = pytree_chain(7, 2, 1)
    found = gradient(lambda system: solve(system, Jacobi(), adjoint=adjoint).value, system)
    assert_same(found, gradient(unrolled, system))


def made(parameters):
    """A tiny MADE as a function of what trains it: masks are applied within, so masked weights have no gradient."""
    model, noise = parameters
    return AutoregressiveSystem(model.fold(), model.head, noise)


def masked(parameters):
    lower, offset = parameters
    return from_function(_masked_product, jnp.zeros_like(offset), jnp.tril(lower, -1), offset, check=False)


def _masked_product(x, lower, offset):
    return jnp.tanh(lower @ x) + offset


def any_systems():
    model = MODELS["made"](MADEConfig(6, (11, 7), 1e-3), rngs=nnx.Rngs(0))
    key = jax.random.key(1)
    product = (jax.random.normal(key, (6, 6)), jax.random.normal(key, (6, 2)))
    return {
        "made": (made, (model, model.draw_noise(key, 2))),
        "masked_product": (masked, product),
        "class_ids": (lambda system: system, pytree_system(6, 2, 3)),
    }


@pytest.mark.parametrize("name", any_systems())
@pytest.mark.parametrize("adjoint", [None, DenseNewton()])
def test_any_triangular_system(name, adjoint):
    build, parameters = any_systems()[name]
    found = gradient(lambda theta: solve(build(theta), Jacobi(), adjoint=adjoint).value, parameters)
    assert_same(found, gradient(lambda theta: unrolled(build(theta)), parameters))


@pytree
@dataclass(frozen=True)
class Segments:
    """Two equations of one kind, then one of another, which read w."""

    w: jax.Array

    num_equations = 3

    def initial_guess(self):
        return jnp.zeros((2, 1)), jnp.zeros((1, 1, 4))

    def sweep(self, x):
        first = jnp.stack([jnp.sin(self.w)[None], jnp.tanh(self.w * x[0][0])])
        return first, jnp.broadcast_to(self.w * jnp.sum(first.at[1].set(x[0][1])), (1, 1, 4)) * jnp.arange(4.0)


def test_segments_of_different_shapes(x64):
    def value(w):
        return loss_of(solve(Segments(w), Jacobi()).value)

    w, step = jnp.float64(0.7), 1e-6
    np.testing.assert_allclose(jax.grad(value)(w), (value(w + step) - value(w - step)) / (2 * step), rtol=1e-7)


def test_finite_differences(x64):
    system = chain(contractive_link, 9, 2, 4, dtype=jnp.float64)
    direction = jax.random.normal(jax.random.key(1), system.inputs.shape, jnp.float64)

    @jax.jit
    def value(step):
        return loss_of(solve(Chain(system.link, system.inputs + step * direction, system.guess), Newton(tol=0.0)).value)

    step = 1e-5
    expected = (value(step) - value(-step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(value)(0.0), expected, rtol=1e-8)
    second = (jax.grad(value)(step) - jax.grad(value)(-step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(jax.grad(value))(0.0), second, rtol=1e-6)


def test_forward_mode_goes_through_the_steps(x64):
    system = chain(contractive_link, 9, 2, 4, dtype=jnp.float64)
    direction = jax.tree.map(jnp.ones_like, system)
    solver = Newton(tol=0.0)

    def value(system):
        return finish(system, advance(system, solver, start(system, solver), 20)).value

    (tangent,) = jax.jvp(lambda system: (loss_of(value(system)),), (system,), (direction,))[1]
    expected = sum(map(jnp.sum, jax.tree.leaves(gradient(lambda s: solve(s, solver).value, system).inputs)))
    np.testing.assert_allclose(tangent, expected, rtol=1e-9)


def test_jit_and_vmap():
    systems = [chain(contractive_link, 8, 2, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *systems)
    together = jax.vmap(jax.grad(lambda system: loss_of(solve(system, Newton()).value)))(stacked)
    for i, system in enumerate(systems):
        assert_same(jax.tree.map(lambda a, i=i: a[i], together), gradient(unrolled, system))


def growing_link(x, b):
    return 30.0 * x + b


@pytest.mark.parametrize("adjoint", [None, CachedSequential(), Jacobi()])
def test_a_gradient_that_overflows_is_not_zero(adjoint):
    zeros = jnp.zeros((40, 2))
    system = Chain(growing_link, zeros, zeros)

    def loss(system):  # of sample 0: its derivative by the first input is 30^39
        return jnp.sum(solve(system, Newton(), adjoint=adjoint).value[-1, 0])

    found = jax.jit(jax.grad(loss))(system).inputs
    assert not np.any(np.isfinite(found[:5, 0]))
    np.testing.assert_array_equal(found[:, 1], 0.0)


@pytest.mark.parametrize("num_equations", [0, 1])
def test_shortest_systems(num_equations):
    system = chain(contractive_link, num_equations, 2, 0)
    found = gradient(lambda system: solve(system, Newton()).value, system)
    assert_same(found, gradient(unrolled, system))


def test_an_adjoint_that_does_not_fit_is_refused():
    with pytest.raises(PairingError, match="adjoint: ParallelScan needs an AffineMarkovSystem"):
        solve(tiny_made(4, 1, 0), Jacobi(), adjoint=ParallelScan())


def test_a_solution_that_is_not_finite_has_no_finite_gradient():
    system = chain(contractive_link, 6, 1, 0)
    system = Chain(system.link, system.inputs.at[2].set(jnp.nan), system.guess)
    found = jax.grad(lambda system: loss_of(solve(system, Newton(), throw=False).value))(system)
    assert not np.all(np.isfinite(found.inputs))


def along(find, system, direction):
    """The derivative of the loss along a direction of the system's leaves."""
    return jax.jit(lambda *given: jax.jvp(lambda system: loss_of(find(system)), given[:1], given[1:])[1])(
        system, direction
    )


@pytest.mark.parametrize(
    ("name", "solver", "adjoint"),
    [
        ("chain", Newton(tol=0.0), None),
        ("chain", CachedSequential(), GSJacobi(4)),
        ("chain", Jacobi(), Jacobi()),
        ("masked_product", Jacobi(), None),
        ("class_ids", Jacobi(), None),
    ],
    ids=["by a scan", "by blocks", "by sweeps", "any triangular system", "class ids"],
)
def test_forward_mode_is_the_transpose_of_reverse_mode(name, solver, adjoint):
    systems = {"chain": (lambda system: system, chain(contractive_link, 9, 2, 0)), **any_systems()}
    build, system = systems[name]
    leaves, treedef = jax.tree.flatten(system)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    direction = jax.tree.unflatten(
        treedef,
        [
            jax.random.normal(key, leaf.shape, leaf.dtype)
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
            else np.zeros(leaf.shape, jax.dtypes.float0)
            for key, leaf in zip(keys, leaves, strict=True)
        ],
    )
    pushed = along(lambda given: solve(build(given), solver, adjoint=adjoint).value, system, direction)
    assert_same(pushed, along(lambda given: unrolled(build(given)), system, direction), atol=1e-4)
    pulled = gradient(lambda given: solve(build(given), solver, adjoint=adjoint).value, system)
    inner = sum(
        jnp.vdot(a, b)
        for a, b in zip(jax.tree.leaves(pulled), jax.tree.leaves(direction), strict=True)
        if a.dtype != jax.dtypes.float0
    )
    np.testing.assert_allclose(pushed, inner, rtol=1e-3)


@pytest.mark.slow  # four derivatives of derivatives; its cousins have one mode each
def test_forward_and_reverse_mode_go_through_each_other(x64):
    def loss(weight):
        system = from_function(lambda x, w: jnp.tanh(w * jnp.pad(x, (1, 0))[:-1]) + 1.0, jnp.zeros(8), weight)
        return jnp.sum(solve(system, Jacobi()).value ** 2)

    weight = jnp.float64(0.7)
    second = jax.jit(jax.grad(jax.grad(loss)))(weight)
    for derivative in (jax.jacfwd(jax.grad(loss)), jax.grad(jax.jacfwd(loss)), jax.jacfwd(jax.jacfwd(loss))):
        np.testing.assert_allclose(jax.jit(derivative)(weight), second, rtol=1e-9)
    h = 1e-5
    np.testing.assert_allclose(
        jax.jvp(loss, (weight,), (jnp.float64(1.0),))[1], (loss(weight + h) - loss(weight - h)) / (2 * h), rtol=1e-7
    )
