"""The forms that accelerators are given, run on this machine: the same answers as the CPU's, and what programs hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.layers.products import concatenate_channels, correlate, double, products, sum_of_products
from models.made.model import MADE, MADEConfig
from models.pixelcnnpp.model import PixelCNNPP, PixelCNNPPConfig
from models.wavenet.model import WaveNet, WaveNetConfig
from solvers import (
    CachedSequential,
    FunctionSystem,
    GSJacobi,
    Jacobi,
    Newton,
    Sequential,
    advance,
    pytree,
    solve,
    start,
)
from solvers.linear.prefix_scan import affine_scan, chain_length, covariance_scan
from solvers.systems.autoregressive import AutoregressiveSystem
from tests.kit.bank import affine_chain, tiny_gru, tiny_pixelcnnpp


@contextmanager
def accelerators_form() -> Iterator[None]:
    """What is traced inside takes the forms for accelerators."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        yield


def in_both_forms(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """The function's results in the CPU's form and in that of accelerators."""
    on_cpu = jax.jit(lambda *given: function(*given))(*arguments)
    with accelerators_form():
        return on_cpu, jax.jit(lambda *given: function(*given))(*arguments)


def noise(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(
    ("length", "shape"),
    [(1, (2, 2)), (2, (3, 3)), (7, (2, 2)), (41, (2,)), (21, (5, 5)), (9, (3, 2, 2)), (1, (9, 9))],
)
def test_affine_scans_are_the_recurrence(length, shape):
    """Full matrices that are unrolled and that are not, diagonals and blocks; no length is special."""
    features = shape[0] * shape[1] if len(shape) == 3 else shape[0]
    a, b, y = 0.4 * noise(length, 2, *shape), noise(length, 2, features, seed=1), noise(2, features, seed=2)
    np.testing.assert_allclose(*in_both_forms(affine_scan, a, b, y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 6])
def test_what_is_not_finite_stays_behind_it_and_in_its_sample(size):
    a, b = 0.5 * noise(11, 2, size, size), noise(11, 2, size, seed=1).at[4, 1, 0].set(jnp.nan)
    _, found = in_both_forms(affine_scan, a, b, jnp.zeros((2, size)))
    assert np.all(np.isfinite(found[:, 0]))
    assert np.all(np.isfinite(found[:4, 1]))
    assert not np.any(np.all(np.isfinite(found[4:, 1]), axis=-1))


@pytest.mark.parametrize("shape", [(2, 2), (5, 5), (4,)])
def test_covariances_are_those_of_the_other_form(shape):
    j, weight = 0.8 * noise(5, 2, *shape), jnp.array([0.5, 2.0])
    known = jnp.arange(5)[:, None] < jnp.array([0, 3])
    np.testing.assert_allclose(*in_both_forms(covariance_scan, j, weight, known), rtol=1e-3, atol=1e-4)


def test_the_chain_of_a_tree_is_two_logarithms():
    with accelerators_form():
        assert [chain_length(n) for n in (0, 1, 2, 3, 10_000)] == [0, 1, 3, 5, 29]


def test_products_of_layers():
    xs, kernels = [noise(4, 3, 2, 5, seed=i) for i in range(3)], [noise(5, 6, seed=10 + i) for i in range(3)]
    total = noise(1, 1, 1, 6)

    def three(xs: Any, kernels: Any, total: Any) -> Any:
        together = sum_of_products(kernels)
        return together.add(total, xs), together.kernel(1), jnp.stack(products(kernels)(xs))

    for one, other in zip(*in_both_forms(three, xs, kernels, total), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_channels_that_are_concatenated():
    both = in_both_forms(lambda *xs: concatenate_channels(xs), noise(3, 2, 4), noise(3, 2, 4), noise(3, 2, 4))
    np.testing.assert_array_equal(*both)  # data are moved, not computed
    assert concatenate_channels([jnp.zeros((2, 0, 4))] * 2).shape == (2, 0, 8)


@pytest.mark.parametrize("width", [2, 3])
def test_growing_layers(width):
    np.testing.assert_allclose(*in_both_forms(double, noise(3, 5, 2, 4), noise(2, width, 4, 6)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [2, 5])
@pytest.mark.parametrize(("stride", "pad"), [(1, (1, 1)), (1, (1, 0)), (2, (1, 0)), (1, (0, 0))])
def test_convolutions(rows, stride, pad):
    width = 3 if pad == (1, 1) else 2
    frame, kernel = noise(rows, 6, 2, 4), noise(2, width, 4, 3)
    both = in_both_forms(lambda frame, kernel: correlate(frame, kernel, stride, pad), frame, kernel)
    np.testing.assert_allclose(*both, rtol=1e-5, atol=1e-5)


def made() -> Any:
    model = MADE(MADEConfig(12, (9, 8)), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(0), 3))


def pixelcnnpp() -> Any:
    model = PixelCNNPP(PixelCNNPPConfig((8, 8, 1), 1, 3, 2), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(0), 2))


def wavenet() -> Any:
    model = WaveNet(WaveNetConfig(dilations=(2, 1, 3), filter_width=3, num_hidden=6, num_classes=9), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(30), model.head, model.draw_noise(jax.random.key(0), 30, 2))


SOLVES: dict[str, tuple[Callable[[], Any], Any]] = {
    "made, jacobi": (made, Jacobi(tol=1e-5)),
    "made, cached": (made, CachedSequential()),
    "wavenet, jacobi": (wavenet, Jacobi(tol=1e-5)),
    "wavenet, cached": (wavenet, CachedSequential()),
    "gru, newton": (lambda: tiny_gru(50, 2, 0), Newton()),
    "pixelcnnpp, jacobi": (pixelcnnpp, Jacobi(tol=1e-5)),
    "pixelcnnpp, gs-jacobi": (pixelcnnpp, GSJacobi(16, tol=1e-5)),
    "pixelcnnpp, cached": (pixelcnnpp, CachedSequential()),
}
# Of the others the fast cousins are a sweep in both forms, and these.
FAST = ("made, jacobi", "wavenet, cached", "gru, newton")
CASES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in SOLVES]


@pytest.mark.parametrize("name", CASES)
def test_solves_give_the_same_answer(name):
    make, solver = SOLVES[name]
    on_cpu = solve(make(), solver)
    jax.clear_caches()  # where ``solve`` keeps programs of the other form
    with accelerators_form():
        elsewhere = solve(make(), solver)
    jax.clear_caches()
    np.testing.assert_allclose(elsewhere.value, on_cpu.value, rtol=1e-3, atol=1e-4)
    assert abs(int(elsewhere.stats.num_steps) - int(on_cpu.stats.num_steps)) <= 1


def test_a_sweep_of_pixelcnnpp():
    """The CPU's goes through two strips of rows in a loop, that of an accelerator through all rows at once."""
    system, x = tiny_pixelcnnpp((8, 4, 1), 1, 0, 1), noise(32, 1, 1)

    on_cpu = jax.jit(lambda system, x: system.sweep(x)).lower(system, x)
    with accelerators_form():
        elsewhere = jax.jit(lambda system, x: system.sweep(x)).lower(system, x)
    assert "stablehlo.while" in on_cpu.as_text()
    assert "stablehlo.while" not in elsewhere.as_text()
    np.testing.assert_allclose(*(form.compile()(system, x) for form in (on_cpu, elsewhere)), rtol=1e-4, atol=1e-5)


def test_steps_on_a_block():
    solver, system = GSJacobi(2, tol=1e-5), affine_chain(4, 2, 0)

    def two_steps(system: Any, x: Any) -> Any:
        state = solver.init(system, x)
        for _ in range(2):
            x, state, info = solver.step(system, x, state, jnp.zeros(2, jnp.int32))
        return x, state, info.residual, info.frontier

    for one, other in zip(*map(jax.tree.leaves, in_both_forms(two_steps, system, noise(4, 2, 2))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def steps(platform: str, system: Any, solver: Any) -> str:
    """The text of the program that takes a solver's steps."""
    progress = jax.eval_shape(lambda system: start(system, solver), system)
    traced = jax.jit(lambda system, progress: advance(system, solver, progress, 9)).trace(system, progress)
    return str(traced.lower(lowering_platforms=(platform,)).as_text())


@pytest.mark.parametrize("solver", [Jacobi(), Newton(), GSJacobi(2)], ids=["jacobi", "newton", "gs_jacobi"])
def test_a_step_has_no_conditional_on_an_accelerator(solver):
    """It might wait for the host there. The CPU's has one, behind which a pass is left alone."""

    assert "stablehlo.case" in steps("cpu", tiny_gru(20, 2, 0), solver)
    with accelerators_form():
        assert "stablehlo.case" not in steps("cuda", tiny_gru(21, 2, 0), solver)  # another length, as traces are kept


@pytree
@dataclass(frozen=True)
class Sines(FunctionSystem[jax.Array]):
    """A system whose sweep, and whose pass of a block, is a sine and nothing else."""

    @property
    def block_unit(self) -> int:
        return 1

    def init_cache(self) -> jax.Array:
        return jnp.zeros(1)

    def update(self, x: jax.Array, cache: jax.Array, start: Any, size: int) -> tuple[jax.Array, jax.Array]:
        return self.f(x), cache

    def prefix_caches(self, x: jax.Array, block_size: int) -> jax.Array:
        return jnp.zeros((-(-len(x) // block_size), 1))


@pytest.mark.parametrize("solver", [Jacobi(), Sequential(), GSJacobi(2)], ids=["jacobi", "sequential", "gs_jacobi"])
def test_a_pass_stands_between_barriers_on_an_accelerator(solver):
    """What it reads has passed one, and what it gives passes another, before anything else is made of it."""
    system = Sines(jax.lax.sin, jnp.zeros((6, 1)), ())
    with accelerators_form():
        lines = steps("cuda", system, solver).splitlines()
    (one,) = (i for i, line in enumerate(lines) if "stablehlo.sine" in line)
    result, operand = re.findall(r"%\w+", lines[one])
    assert re.search(rf"{operand}(:\d+)? = stablehlo.optimization_barrier", lines[one - 1])
    assert re.search(rf"stablehlo.optimization_barrier .*{result}\b", lines[one + 1])
