"""PixelCNN++ as a whole: every solver on it, what the compiler makes of its cached pass, and its likelihood."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import ModelError, model_config
from models.pixelcnnpp.model import Dropout, PixelCNNPP, PixelCNNPPConfig
from solvers import (
    Anderson,
    CachedSequential,
    DenseNewton,
    GSJacobi,
    Jacobi,
    JacobiGS,
    Sequential,
    SlidingGSJacobi,
    Status,
    TriangularAnderson,
    solve,
)
from solvers.methods.sequential import substitute_by_updates, substitute_forward
from tests.kit.bank import SAMPLING, tiny_pixelcnnpp
from tests.kit.compiled_text import all_jaxprs, kernels_of, while_bodies

GRAY, RGB = ((8, 4, 1), 2), ((4, 8, 3), 1)


@pytest.fixture(scope="module", params=[GRAY, pytest.param(RGB, marks=pytest.mark.slow)], ids=["gray", "rgb"])
def system(request):
    return tiny_pixelcnnpp(*request.param, seed=7, features=4)


@pytest.fixture(scope="module")
def naive(system):
    return solve(system, Sequential()).value


def on(system):
    """Every solver, with blocks of several rows where it has any."""
    width = system.block_unit
    return {
        "jacobi": Jacobi(),
        "cached_sequential": CachedSequential(chunk_size=2 * width),
        "gs_jacobi": GSJacobi(block_size=3 * width),  # starts at every phase, and a short last block
        "sliding_gs_jacobi": SlidingGSJacobi(block_size=3 * width),
        "jacobi_gs": JacobiGS(block_size=width),
        "anderson": Anderson(),
        "triangular_anderson": TriangularAnderson(unexplained=1.0),
        "dense_newton": DenseNewton(),
    }


def test_every_solver_is_tried(system):
    assert {"sequential", *on(system)} == set(SAMPLING)


@pytest.mark.parametrize("name", sorted(set(SAMPLING) - {"sequential"}))
def test_every_solver_gives_the_naive_sample(system, naive, name):
    solution = solve(system, on(system)[name])
    assert solution.outcome is Status.CONVERGED
    if name == "jacobi":  # passes of one shape agree bit for bit
        np.testing.assert_array_equal(solution.value, naive)
    np.testing.assert_allclose(solution.value, naive, atol=1e-4)
    assert float(jnp.std(naive)) > 0.1, "the sample is flat: the test is vacuous"


@pytest.mark.parametrize("rows", [1, 2])
def test_jacobi_gs_needs_at_most_a_round_a_block(rows):
    system = tiny_pixelcnnpp(*GRAY, seed=8)
    solution = solve(system, JacobiGS(block_size=rows * system.block_unit))
    assert int(solution.stats.num_iterations) <= 8 // rows + 1


def test_a_window_that_slides_takes_fewer_steps_than_blocks_in_order():
    system = tiny_pixelcnnpp((16, 4, 1), 2, seed=9)
    size = 4 * system.block_unit
    blocks, sliding = solve(system, GSJacobi(block_size=size)), solve(system, SlidingGSJacobi(block_size=size))
    assert int(sliding.stats.num_steps) < int(blocks.stats.num_steps)
    np.testing.assert_allclose(sliding.value, blocks.value, atol=1e-4)


def elements(shape):
    return int(np.prod([int(n) for n in shape.split(",") if n] or [1]))


@pytest.mark.parametrize("substitute", [substitute_forward, substitute_by_updates], ids=["rows", "updates"])
def test_no_row_cache_is_copied_in_the_pixel_loop(substitute):
    """In the compiled text: the loop over pixels copies nothing as large as a layer's line of the finest level."""
    features, width, batch = 4, 16, 4
    system = tiny_pixelcnnpp((8, width, 1), batch, seed=0, features=features)
    cache = system.init_cache()
    lines = jax.tree.leaves((cache.horizontal.inputs[0], cache.vertical.inputs[0]))
    line = min(a.size for a in lines)  # of one layer
    function = jax.jit(lambda system: substitute(system, system.init_cache(), jnp.int32(0), system.num_equations))
    # Tests compile with optimizations off; what users get is what counts here.
    options = {"xla_backend_optimization_level": 3}
    text = function.lower(system).compile(compiler_options=options).as_text()
    bodies = while_bodies(text)
    # By rows, the loop over pixels is the inner one; one update a pixel is one loop, with a row's opening inside.
    outer = [body for body in bodies.values() if any(" while(" in line for line in body)]
    inner = [body for body in bodies.values() if not any(" while(" in line for line in body)]
    pixel_loop = min(inner, key=len) if substitute is substitute_forward else max(outer, key=len)
    assert any("conditional(" in line for line in pixel_loop), "this loop does not descend the levels: not over pixels"
    copies = [match for x in pixel_loop for match in re.findall(r"= \w+\[([\d,]*)\]\S* copy\(", x)]
    assert all(elements(shape) < line for shape in copies), f"copied in the loop over pixels: {copies}"


def traced(nr_resnet, size):
    """The parameters of the first ``size`` pixels, whole rows or a single one, of stacks of that depth."""
    model = PixelCNNPP(PixelCNNPPConfig((8, 8, 1), nr_resnet, nr_filters=4, nr_logistic_mix=2), rngs=nnx.Rngs(0))
    network = model.fold()
    cache = network.init_cache(2, jnp.float32)
    rows = size > 1
    parameters = jax.jit(
        lambda network, x, cache, start: network.conditionals(x, cache, start, size, size),
        static_argnames="start" if rows else (),
    )
    return parameters.trace(network, jnp.zeros((size, 2, 1)), cache, 0 if rows else jnp.int32(0))


@pytest.mark.parametrize("size", [32, pytest.param(1, marks=pytest.mark.slow)], ids=["rows", "pixel"])
def test_blocks_that_are_alike_share_their_kernels(size):
    """Deeper stacks have no other kernels, for each of which that differs the compiler takes its time."""
    options = {"xla_cpu_use_fusion_emitters": True}  # as users have it; tests compile without
    two, three = (kernels_of(traced(depth, size).lower().compile(options).as_text()) for depth in (2, 3))
    assert len(two) > 50, "no kernels were found in the text"
    assert three <= two


@pytest.mark.parametrize("size", [32, 1], ids=["rows", "pixel"])
def test_no_block_concatenates_channels_by_a_kernel_of_its_own(size):
    """The compiler makes a kernel of each concatenation of channels, though they are alike."""

    def concatenations(depth):
        jaxprs = all_jaxprs(traced(depth, size).jaxpr.jaxpr)
        joins = [each for jaxpr in jaxprs for each in jaxpr.eqns if each.primitive.name == "concatenate"]
        return sum(each.params["dimension"] == each.outvars[0].aval.ndim - 1 for each in joins)

    assert 0 < concatenations(2) == concatenations(3)


@pytest.mark.parametrize(
    ("size", "functions"),
    [
        (32, {"elu", "concat_elu", "gate", "correlate", "double"}),
        (1, {"elu", "concat_elu", "gate", "correlate", "_pick_rows"}),
    ],
    ids=["rows", "pixel"],
)
def test_functions_of_layers_are_traced_once(size, functions):
    """Deeper stacks call the functions that are there, of which tracing takes its time."""

    def traced_of(depth):
        equations = [each for jaxpr in all_jaxprs(traced(depth, size).jaxpr.jaxpr) for each in jaxpr.eqns]
        called = [each.params for each in equations if each.params.get("name") in functions]
        return {(params["name"], id(params["jaxpr"])): params["jaxpr"] for params in called}

    two, three = traced_of(2), traced_of(3)
    assert {name for name, _ in two} == functions
    assert sorted(name for name, _ in two) == sorted(name for name, _ in three)


@pytest.mark.parametrize(
    "solver",
    [Jacobi(), *(pytest.param(kind(block_size=8), marks=pytest.mark.slow) for kind in (GSJacobi, SlidingGSJacobi))],
)
def test_memory_of_jacobi_does_not_grow_with_its_steps(solver):
    system = tiny_pixelcnnpp(*GRAY, seed=0)
    sizes = {
        jax.jit(lambda s, n=steps: solve(s, solver, max_steps=n, throw=False).value)
        .lower(system)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for steps in (2, 20)
    }
    assert len(sizes) == 1


@pytest.fixture(scope="module")
def model():
    config = PixelCNNPPConfig((4, 8, 3), nr_resnet=1, nr_filters=4, nr_logistic_mix=2, dropout=0.5)
    return PixelCNNPP(config, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 4, 8, 3), np.uint8))


def bits(model, images, key):
    return compiled_bits(*nnx.split(model), images, key)


@partial(jax.jit, static_argnums=0)  # one program for all keys
def compiled_bits(graph, state, images, key):
    return nnx.merge(graph, state).bits_per_dim(images, key)


def test_bits_per_dim_are_those_of_the_head(model, images):
    network = model.fold()
    x = model.from_images(images)
    params = jax.jit(lambda net, x: net.conditionals(x, net.init_cache(3, x.dtype), 0, 32, 32)[0])(network, x)
    expected = -model.head.log_prob(params, x).sum(axis=0) / (np.log(2) * 96)
    np.testing.assert_allclose(bits(model, images, jax.random.key(0)), expected, rtol=1e-5)


def test_dropout_acts_in_training_only(model, images):
    first, second = (bits(model, images, jax.random.key(i)) for i in (0, 1))
    np.testing.assert_array_equal(first, second)
    model.train()
    try:
        dropped, again = (bits(model, images, jax.random.key(i)) for i in (0, 1))
    finally:
        model.eval()
    assert not np.allclose(dropped, first, rtol=1e-6)
    assert not np.allclose(dropped, again, rtol=1e-6)


def test_dropout_drops_its_share_and_keeps_the_mean():
    drop, x = Dropout(0.25, jax.random.key(0)), jnp.ones(40_000)
    once, twice = drop(x), drop(x)
    assert np.mean(np.asarray(once) == 0) == pytest.approx(0.25, abs=0.01)
    assert np.mean(once) == pytest.approx(1.0, abs=0.02)
    assert np.any(once != twice), "both calls drew the same mask"
    np.testing.assert_array_equal(Dropout(0.0, jax.random.key(0))(x), x)


def test_images_and_values(model, images):
    values = model.from_images(images)
    assert values.shape == (32, 3, 3)
    np.testing.assert_array_equal(values[9, 1], images[1, 1, 1] / np.float32(127.5) - 1)  # row 1, column 1
    np.testing.assert_array_equal(model.to_images(jnp.moveaxis(values, 0, 1)), images)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image_shape": [30, 28, 1]}, "divisible by 4, as the network halves them twice; nearest: [32, 28, 1]"),
        ({"image_shape": [28, 0, 1]}, "divisible by 4"),
        ({"image_shape": [28, 28, 2]}, "1 (gray) or 3 (RGB) channels, not 2"),
        ({"nr_resnet": 0}, "nr_resnet must be at least 1, not 0"),
        ({"nr_filters": -3}, "nr_filters must be at least 1, not -3"),
        ({"nr_logistic_mix": 0}, "nr_logistic_mix must be at least 1, not 0"),
        ({"dropout": 1.0}, "dropout must be in [0, 1), not 1.0"),
        ({"nr_resnets": 5}, "nr_resnet"),
    ],
)
def test_impossible_architectures_are_refused(options, sentence):
    with pytest.raises(ModelError, match=re.escape(sentence)):
        model_config({"name": "pixelcnnpp", **options})


def test_blocks_are_whole_rows():
    system = tiny_pixelcnnpp(*GRAY, seed=0)
    with pytest.raises(ValueError, match="multiple of the block unit, 4; the nearest that is: 8"):
        GSJacobi(block_size=7).max_steps(system)
