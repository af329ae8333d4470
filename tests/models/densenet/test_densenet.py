"""DenseNet's equations: one definition for all passes, and the contracts of its systems; see test_import_densenet."""

from __future__ import annotations

import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from models import ModelError, describe_config, model_config
from models.densenet.model import DenseNet, DenseNetConfig
from models.densenet.systems import DenseBlockSystem, DenseNetSystem
from models.weights.downloads import downloads
from models.weights.load import load_checkpoint
from models.weights.native import save_checkpoint
from solvers import (
    CachedSequential,
    ForwardSubstitution,
    GSJacobi,
    Jacobi,
    JacobiGS,
    Segmented,
    SegmentedSystem,
    Sequential,
    Status,
    solve,
)
from solvers.methods.sequential import substitute_by_updates, substitute_forward

BATCH = 3
LAYERS = (2, 5, 3)
TOTAL = sum(LAYERS)
BLOCK = 1  # the block that is looked at by itself
COLOURS = {"pixel_mean": (0.4, 0.5), "pixel_std": (0.2, 0.3)}
# Five layers in a group of four and one of one; odd sides, which pooling cuts.
SMALL = DenseNetConfig(3, LAYERS, 6, 4, (13, 18, 2), bn_size=2, stem="small", **COLOURS)
LARGE_STEM = DenseNetConfig(2, (2, 3), 4, 5, (20, 17, 2), bn_size=3, **COLOURS)
seeds = st.integers(0, 1000)

sweep = jax.jit(lambda system, x: system.sweep(x))
readout = jax.jit(lambda system, x: system.readout(x))
update = jax.jit(lambda system, x, cache, start, size: system.update(x, cache, start, size), static_argnums=4)
forward = jax.jit(substitute_forward, static_argnums=3)
by_updates = jax.jit(substitute_by_updates, static_argnums=3)
prefix_caches = jax.jit(lambda system, x, size: system.prefix_caches(x, size), static_argnums=2)
call = jax.jit(lambda network, x: network(x))
bind = jax.jit(DenseNetSystem.of)


@cache
def trained(config=SMALL):
    """Random weights, and statistics that are not those of a new network."""
    model, random = DenseNet(config, rngs=nnx.Rngs(0)), np.random.default_rng(0)
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        if path[-1] in ("scale", "var"):
            variable[...] = jnp.asarray(random.uniform(0.5, 2.0, variable.shape).astype(np.float32))
        elif path[-1] in ("bias", "mean"):
            variable[...] = jnp.asarray(random.normal(0.0, 0.5, variable.shape).astype(np.float32))
    return model


def images(seed, config=SMALL, batch=BATCH):
    return np.random.default_rng(seed).normal(size=(batch, *config.image_shape)).astype(np.float32)


def whole(seed):
    return bind(trained().fold(), images(seed))


def block(seed):
    network = trained().fold()
    height, width = SMALL.grids[BLOCK]
    shape = (BATCH, height, width, SMALL.widths[BLOCK])
    return bind_block(network.blocks[BLOCK], np.random.default_rng(seed).normal(size=shape).astype(np.float32))


bind_block = jax.jit(DenseBlockSystem.of)
SYSTEMS = {"block": block, "network": whole}
both = pytest.mark.parametrize("name", SYSTEMS)


def random_state(system, seed):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda a: random.normal(size=a.shape).astype(a.dtype), system.initial_guess())


def rows(x):
    """All values of each equation and sample: (T, B, F) with zeros behind where segments differ."""
    flat = [np.asarray(leaf).reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(x)]
    width = max(leaf.shape[-1] for leaf in flat)
    return np.concatenate([np.pad(leaf, ((0, 0), (0, 0), (0, width - leaf.shape[-1]))) for leaf in flat])


def moved(x, t, seed):
    """x with other values in equations t and after."""
    random, start, result = np.random.default_rng(seed), 0, []
    for leaf in jax.tree.leaves(x):
        index = start + np.arange(leaf.shape[0]).reshape(-1, *(1,) * (leaf.ndim - 1))
        result.append(np.where(index < t, leaf, random.normal(size=leaf.shape).astype(np.float32)))
        start += leaf.shape[0]
    return jax.tree.unflatten(jax.tree.structure(x), result)


def assert_close(x, y, atol=1e-5):
    for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("config", [SMALL, LARGE_STEM])
def test_the_folded_network_is_the_network(config):
    model, x = trained(config), images(1, config)
    logits = call(model, x)
    assert np.ptp(np.asarray(logits)) > 0.1, "nothing is told from anything: the test is vacuous"
    np.testing.assert_allclose(call(model.fold(), x), logits, rtol=0, atol=1e-5)


@both
@settings(max_examples=3)
@given(seed=seeds)
def test_an_equation_reads_those_before_it_only(name, seed):
    system = SYSTEMS[name](seed)
    x = random_state(system, seed)
    base = rows(sweep(system, x))
    for t in range(system.num_equations):
        other = rows(sweep(system, moved(x, t, seed + 1)))
        np.testing.assert_array_equal(other[: t + 1], base[: t + 1])
        if t + 1 < system.num_equations:
            assert np.any(other[t + 1] != base[t + 1]), f"equation {t + 1} does not read what is before it"


@both
@settings(max_examples=2)
@given(seed=seeds)
def test_samples_of_a_batch_are_independent(name, seed):
    system = SYSTEMS[name](seed)
    x = random_state(system, seed)
    first = jax.tree.map(lambda a: a[:, :1], x)
    if name == "block":
        alone = DenseBlockSystem(system.block, system.opened[:, :1])
    else:
        alone = bind(system.network, images(seed)[:1])
    assert_close(sweep(alone, first), jax.tree.map(lambda a: a[:, :1], sweep(system, x)))


@pytest.mark.parametrize("size", [2, 7])
def test_blocks_in_order_are_the_sweep_and_their_caches_those_of_the_prefix(size):
    system = block(size)
    assert isinstance(system, ForwardSubstitution)
    x, length = solve(system, Jacobi()).value, system.num_equations
    caches = prefix_caches(system, x, size)
    states = [system.init_cache()] * 3
    for i, begin in enumerate(range(0, length, size)):
        start, count = jnp.int32(begin), min(size, length - begin)
        np.testing.assert_allclose(caches[i][begin:], states[0][begin:], rtol=1e-5, atol=1e-5)
        guess = jnp.pad(x[begin : begin + count], ((0, size - count), *[(0, 0)] * 4), constant_values=1.0)
        passes = [
            update(system, guess, states[0], start, size),
            forward(system, states[1], start, size),
            by_updates(system, states[2], start, size),
        ]
        states = [state for _, state in passes]
        for values, state in passes:
            np.testing.assert_allclose(values[:count], x[begin : begin + count], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(state[begin + count :], states[0][begin + count :], rtol=1e-5, atol=1e-5)


def test_a_step_does_not_read_its_guess():
    system = block(0)
    zero = system.initial_guess()[:1]
    clean = update(system, zero, system.init_cache(), jnp.int32(0), 1)
    spoiled = update(system, zero * jnp.nan, system.init_cache(), jnp.int32(0), 1)
    for a, b in zip(clean, spoiled, strict=True):
        np.testing.assert_array_equal(a, b)


BLOCK_SOLVERS = [Jacobi(), CachedSequential(), CachedSequential(99), GSJacobi(2), JacobiGS(2)]


@pytest.mark.parametrize("solver", BLOCK_SOLVERS, ids=repr)
def test_a_block_is_solved_within_its_bound(solver):
    system = block(3)
    exact, _ = forward(system, system.init_cache(), 0, system.num_equations)
    solution = solve(system, solver)
    assert int(solution.stats.num_iterations) <= solver.max_steps(system)
    if solver == Jacobi():
        assert int(solution.stats.num_steps) <= LAYERS[BLOCK] + 1
    np.testing.assert_allclose(solution.value, exact, rtol=1e-5, atol=1e-5)


NETWORK_SOLVERS = {
    TOTAL + 1: Jacobi(),
    TOTAL: Sequential(),
    TOTAL + len(LAYERS): Segmented(),
    TOTAL + 0.5: Segmented(CachedSequential(99)),
    TOTAL + len(LAYERS) + 0.5: Segmented(GSJacobi(16)),
}


@pytest.mark.parametrize(("bound", "solver"), NETWORK_SOLVERS.items(), ids=map(repr, NETWORK_SOLVERS.values()))
def test_every_solver_gives_the_sequential_pass(bound, solver):
    network = trained().fold()
    system = bind(network, images(2))
    assert isinstance(system, SegmentedSystem)
    assert system.num_equations == TOTAL
    logits = call(network, images(2))
    solution = solve(system, solver)
    assert int(solution.stats.num_steps) <= bound
    found = readout(system, solution.value)
    np.testing.assert_allclose(found, logits, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(np.argsort(-found)[:, :3], np.argsort(-logits)[:, :3])


@pytest.mark.parametrize("solver", [Jacobi(), Segmented(), Segmented(CachedSequential())], ids=repr)
def test_nan_is_never_success_and_holds_up_no_one(solver):
    spoiled = images(4)
    spoiled[0, 3, 3, 0] = np.nan
    network = trained().fold()
    solution = solve(bind(network, spoiled), solver, throw=False)
    np.testing.assert_array_equal(solution.sample_status, [Status.NONFINITE, Status.CONVERGED, Status.CONVERGED])
    healthy = solve(bind(network, images(4)), solver)
    assert_close(*(jax.tree.map(lambda a: a[:, 1:], s.value) for s in (solution, healthy)))


def test_what_padding_costs():
    folded = trained().fold().blocks[BLOCK]
    inner = SMALL.growth_rate * SMALL.bn_size * SMALL.growth_rate  # a layer's features through one layer's product
    padded, counting = folded.product_sizes()
    assert counting == (0 + 1 + 2 + 3 + 4) * inner
    assert padded == (4 * 3 + 1 * 4) * inner


def test_statistics_move_in_training_only():
    model, x = DenseNet(SMALL, rngs=nnx.Rngs(1)), images(5)

    @jax.jit
    def run(graph, state, x):
        model = nnx.merge(graph, state, copy=True)
        return model(x), nnx.state(model)

    _, same = run(*nnx.split(model), x)
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(nnx.state(model)), strict=True):
        np.testing.assert_array_equal(a, b)
    model.train()
    _, new = run(*nnx.split(model), x)
    nnx.update(model, new)
    model.eval()
    for norm in (model.blocks[0][1].norm1, model.transitions[1].norm, model.norm):
        assert np.any(norm.mean[...] != 0.0)
        assert np.any(norm.var[...] != 1.0)


def test_images_become_what_the_network_reads():
    model = trained()
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SMALL.image_shape), dtype=np.uint8)
    expected = (pixels / 255 - np.array(SMALL.pixel_mean)) / np.array(SMALL.pixel_std)
    np.testing.assert_allclose(model.from_images(jnp.asarray(pixels)), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 13, 18, 3), (2, 18, 13, 2)])
def test_images_of_another_shape_are_refused(shape):
    expected = re.escape(f"images must be laid out as (N, 13, 18, 2), height, width and channels, not {shape}")
    with pytest.raises(ValueError, match=expected):
        trained().from_images(jnp.zeros(shape, jnp.uint8))
    with pytest.raises(ValueError, match=expected):
        DenseNetSystem.of(trained().fold(), jnp.zeros(shape))


def test_a_blocks_input_of_another_width_is_refused():
    expected = re.escape("a block's input must be laid out as (N, height, width, 6), not (1, 4, 4, 7)")
    with pytest.raises(ValueError, match=expected):
        DenseBlockSystem.of(trained().fold().blocks[0], jnp.zeros((1, 4, 4, 7)))


def test_checkpoints_restore_everything(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, "densenet", trained(), {"held_out_accuracy": 0.5})
    loaded = load_checkpoint(str(path)).model
    assert loaded.config == SMALL
    for a, b in zip(jax.tree.leaves(nnx.state(loaded)), jax.tree.leaves(nnx.state(trained())), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [name for name in downloads() if name.startswith("densenet")])
def test_published_networks_have_their_published_depth(name):
    config = model_config(downloads()[name].model)
    # Two convolutions a layer, one a transition, the stem's and the classifier.
    assert 2 * sum(config.block_layers) + len(config.block_layers) - 1 + 2 == int(name.removeprefix("densenet"))
    assert config.grids == ((56, 56), (28, 28), (14, 14), (7, 7))
    assert model_config({**describe_config("densenet", config)}) == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_layers": []}, "block_layers must hold one or more positive counts, not []"),
        ({"growth_rate": 0}, "growth_rate must be at least 1, not 0"),
        ({"stem": "imagenett"}, "unknown stem 'imagenett'; did you mean 'imagenet'? valid: imagenet, small"),
        ({"image_shape": [28, 28, 1]}, "pixel_mean must hold a number for each of the 1 channels, not [0.485, 0.456"),
        ({"pixel_std": [1.0, 0.0, 1.0]}, "pixel_std must be positive, not [1.0, 0.0, 1.0]"),
        (
            {"image_shape": [28, 40, 3]},
            "image_shape [28, 40, 3] is too small for 4 blocks; height and width must be at least 29",
        ),
        ({"depth": 121}, "unknown option 'depth'; valid: "),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ModelError, match=re.escape(f"model densenet: {message}")):
        model_config({"name": "densenet", **options})
