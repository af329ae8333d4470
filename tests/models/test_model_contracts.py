"""The theorem, on every registered model: causality, one definition for all block sizes, caches, batch independence."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from models import FLOWS, LANGUAGES, MODELS, SAMPLERS, describe_config, model_config
from models.weights.load import load_checkpoint
from models.weights.native import save_checkpoint
from solvers import BlockSystem, ForwardSubstitution, SlidingBlockSystem
from solvers.methods.sequential import substitute_by_updates, substitute_forward
from solvers.systems.autoregressive import AutoregressiveSystem, log_likelihood
from tests.kit.bank import tiny_flow_block, tiny_language, tiny_made, tiny_pixelcnnpp, tiny_wavenet


@dataclass(frozen=True)
class Small:
    """A small system of a registered model, and how to look at it."""

    build: Callable[..., Any]  # (shape, seed) -> system
    shapes: tuple[Any, ...]  # what build takes; each one compiles everything anew
    units: tuple[int, ...]  # block sizes, in block units
    many: Any  # the shape of a few equations and thousands of samples
    options: dict[str, Any]  # of model_config
    rounded: Callable[[Any], Any] = lambda x: x  # values that the likelihood is of


# A new model adds itself here.
SMALL = {
    "made": Small(
        build=lambda shape, seed: tiny_made(*shape, seed),
        shapes=((1, 1), (7, 2), (12, 3)),
        units=(1, 2, 5),
        many=(4, 4000),
        options={"num_inputs": 9, "hidden_sizes": [6]},
    ),
    "pixelcnnpp": Small(
        build=lambda shape, seed: tiny_pixelcnnpp(*shape, seed),
        shapes=(((8, 4, 1), 2),),  # eight rows: every phase of the strides, twice
        units=(1, 3),
        many=((4, 4, 1), 3000),
        options={"image_shape": [4, 8, 3], "nr_resnet": 1, "nr_filters": 3, "nr_logistic_mix": 2},
        rounded=lambda x: jnp.round((x + 1.0) * 127.5) / 127.5 - 1.0,
    ),
    "wavenet": Small(
        build=lambda shape, seed: tiny_wavenet(shape[0], shape[1], seed, shape[2]),
        shapes=((11, 2, "plain"), (12, 1, "gated")),
        units=(1, 2, 5),
        many=(3, 4000, "plain"),
        options={"block": "gated", "dilations": [1, 2], "num_hidden": 3, "num_skip": 2, "num_classes": 4},
    ),
    "language": Small(
        build=lambda shape, seed: tiny_language(*shape, seed),
        shapes=((9, 2),),
        units=(4,),
        many=(3, 4000),
        options={"width": 4, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "context": 5, "positions": "learned"},
    ),
    "flow": Small(  # of which a block is such a system
        build=lambda shape, seed: tiny_flow_block(*shape, seed),
        shapes=((2, 2),),
        units=(3,),
        many=(3, 4000),
        options={"width": 4, "num_layers": 1, "num_heads": 2, "num_blocks": 2, "image_shape": [4, 4, 1]},
    ),
}
CASES = [(name, shape) for name, small in SMALL.items() for shape in small.shapes]
BLOCKS = [(name, shape, units) for name, shape in CASES for units in SMALL[name].units]
seeds = st.integers(0, 7)  # of models that are built once
everywhere = pytest.mark.parametrize(("name", "shape"), CASES)
every_block = pytest.mark.parametrize(("name", "shape", "units"), BLOCKS)
everyone = pytest.mark.parametrize("name", [*SAMPLERS, *LANGUAGES, *FLOWS])

sweep = jax.jit(lambda system, x: system.sweep(x))
update = jax.jit(lambda system, x, cache, start, size: system.update(x, cache, start, size), static_argnums=4)
slide = jax.jit(lambda system, *args, size: system.slide(*args[:3], size, args[3]), static_argnames="size")
forward = jax.jit(substitute_forward, static_argnums=3)
by_updates = jax.jit(substitute_by_updates, static_argnums=3)
prefix_caches = jax.jit(lambda system, x, size: system.prefix_caches(x, size), static_argnums=2)


def random_state(system, seed):
    guess = system.initial_guess()
    if jnp.issubdtype(guess.dtype, jnp.integer):
        return jax.random.randint(jax.random.key(seed + 1), guess.shape, 0, system.head.num_classes, guess.dtype)
    return jax.random.normal(jax.random.key(seed + 1), guess.shape, guess.dtype)


def solution(system):
    """By sweeps until nothing changes: what Jacobi does, without compiling it."""
    x = system.initial_guess()
    for _ in range(system.num_equations + 1):
        x, before = sweep(system, x), x
        if np.array_equal(x, before):
            return x
    raise AssertionError("no fixed point within T + 1 sweeps")


def blocks(system, units):
    """(start, size, how many equations are no padding) of blocks in order."""
    size = min(units, -(-system.num_equations // system.block_unit)) * system.block_unit
    return [(s, size, min(size, system.num_equations - s)) for s in range(0, system.num_equations, size)]


def padded(x, size):
    return jnp.concatenate([x, jnp.zeros_like(x[:1]).repeat(size, axis=0)])


def assert_close(a, b):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_every_model_has_a_small_system():
    assert set(SMALL) == {*SAMPLERS, *LANGUAGES, *FLOWS}


@everywhere
def test_protocols(name, shape):
    system = SMALL[name].build(shape, 0)
    for protocol in (BlockSystem, SlidingBlockSystem, ForwardSubstitution):
        assert isinstance(system, protocol)
    assert system.num_equations == system.initial_guess().shape[0]


@everywhere
@settings(max_examples=6)
@given(seed=seeds)
def test_causality(name, shape, seed):
    system = SMALL[name].build(shape, seed)
    x, other = random_state(system, seed), random_state(system, seed + 7)
    swept = sweep(system, x)
    for t in range(system.num_equations):
        known = (jnp.arange(system.num_equations) < t).reshape(-1, *(1,) * (x.ndim - 1))
        np.testing.assert_array_equal(sweep(system, jnp.where(known, x, other))[: t + 1], swept[: t + 1])


@everywhere
@settings(max_examples=4)
@given(seed=seeds)
def test_every_equation_reads_its_prefix(name, shape, seed):
    system = SMALL[name].build(shape, seed)
    if system.num_equations == 1:
        return
    for i in range(100):  # a class id may well survive one change, and most small ones
        x, other = random_state(system, seed + i), random_state(system, seed + i + 1)
        if np.any(sweep(system, x.at[0].set(other[0])) != sweep(system, x)):
            return
    pytest.fail("no equation depends on the first one: the model is vacuous")


@every_block
@settings(max_examples=6)
@given(seed=seeds)
def test_first_block_equals_sweep_at_a_random_state(name, shape, units, seed):
    system = SMALL[name].build(shape, seed)
    x = random_state(system, seed)
    _, size, _ = blocks(system, units)[0]
    block, _ = update(system, x[:size], system.init_cache(), jnp.int32(0), size)
    np.testing.assert_allclose(block, sweep(system, x)[:size], rtol=1e-5, atol=1e-5)


@every_block
@settings(max_examples=6)
@given(seed=seeds)
def test_blocks_in_order_equal_the_sweep_at_a_solution(name, shape, units, seed):
    system = SMALL[name].build(shape, seed)
    x, cache = solution(system), system.init_cache()
    for start, size, count in blocks(system, units):
        guess = padded(x, size)[start : start + size]
        block, cache = update(system, guess, cache, jnp.int32(start), size)
        np.testing.assert_allclose(block[:count], x[start : start + count], rtol=1e-5, atol=1e-5)


@every_block
@settings(max_examples=6)
@given(seed=seeds, data=st.data())
def test_any_block_at_a_random_state_given_its_prefix(name, shape, units, seed, data):
    """The values of a block are the sweep's at (prefix, guesses), whatever the guesses are."""
    system = SMALL[name].build(shape, seed)
    x, exact = random_state(system, seed), solution(system)
    all_blocks = [block for block in blocks(system, units) if block[1] == block[2]]
    start, size, _ = all_blocks[data.draw(st.integers(0, len(all_blocks) - 1))]
    cache = system.init_cache()
    for begin in range(0, start, size):
        _, cache = forward(system, cache, jnp.int32(begin), size)
    block, _ = update(system, x[start : start + size], cache, jnp.int32(start), size)
    known = (jnp.arange(system.num_equations) < start).reshape(-1, *(1,) * (x.ndim - 1))
    at_prefix = sweep(system, jnp.where(known, exact, x))
    np.testing.assert_allclose(block, at_prefix[start : start + size], rtol=1e-5, atol=1e-5)


@everywhere
@settings(max_examples=6)
@given(seed=seeds)
def test_a_cached_step_does_not_read_its_guess(name, shape, seed):
    system = SMALL[name].build(shape, seed)
    zero = jnp.zeros_like(system.initial_guess()[:1])
    spoil = -1 if jnp.issubdtype(zero.dtype, jnp.integer) else jnp.nan
    clean, _ = update(system, zero, system.init_cache(), jnp.int32(0), 1)
    spoiled, cache = update(system, zero + spoil, system.init_cache(), jnp.int32(0), 1)
    np.testing.assert_array_equal(spoiled, clean)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(cache))


@every_block
@settings(max_examples=6)
@given(seed=seeds)
def test_forward_substitution_equals_updates_and_so_do_the_caches(name, shape, units, seed):
    system = SMALL[name].build(shape, seed)
    fast, slow = system.init_cache(), system.init_cache()
    for start, size, count in blocks(system, units):
        values, fast = forward(system, fast, jnp.int32(start), size)
        expected, slow = by_updates(system, slow, jnp.int32(start), size)
        np.testing.assert_allclose(values[:count], expected[:count], rtol=1e-5, atol=1e-5)
        if count == size:
            assert_close(fast, slow)


@every_block
@settings(max_examples=6)
@given(seed=seeds)
def test_prefix_caches_serve_their_blocks_and_no_others(name, shape, units, seed):
    """From each cache, which may hold what its block reads alone, the block at once and by steps, both ways."""
    system = SMALL[name].build(shape, seed)
    x = solution(system)
    size = blocks(system, units)[0][1]
    together = prefix_caches(system, x, size)
    for i, (start, size, count) in enumerate(blocks(system, units)):
        cache = jax.tree.map(lambda a: a[i], together)  # noqa: B023
        block, _ = update(system, padded(x, size)[start : start + size], cache, jnp.int32(start), size)
        exact = x[start : start + count]
        np.testing.assert_allclose(block[:count], exact, rtol=1e-5, atol=1e-5)
        for steps in (by_updates, forward):
            values, _ = steps(system, cache, jnp.int32(start), size)
            np.testing.assert_allclose(values[:count], exact, rtol=1e-5, atol=1e-5)


@every_block
@settings(max_examples=6)
@given(seed=seeds, data=st.data())
def test_a_window_that_slides_leaves_the_cache_of_where_it_goes(name, shape, units, seed, data):
    """From any start by any number of units: with exact guesses, the values and the caches of the prefix."""
    system = SMALL[name].build(shape, seed)
    unit, total = system.block_unit, system.num_equations
    x, size = solution(system), blocks(system, units)[0][1]
    cache, expected, start, at = system.init_cache(), system.init_cache(), 0, 0
    while start + size <= total:
        keep = unit * data.draw(st.integers(0 if start else 1, size // unit))
        values, cache = slide(system, x[start : start + size], cache, jnp.int32(start), jnp.int32(keep), size=size)
        np.testing.assert_allclose(values, x[start : start + size], rtol=1e-5, atol=1e-5)
        start += keep
        while at < start:
            _, expected = forward(system, expected, jnp.int32(at), unit)
            at += unit
        assert_close(cache, expected)
        if keep == 0:
            break


@everywhere
@settings(max_examples=4)
@given(seed=seeds)
def test_samples_of_a_batch_are_independent(name, shape, seed):
    system = SMALL[name].build(shape, seed)
    x = random_state(system, seed)
    swept = sweep(system, x)
    for i in range(x.shape[1]):
        noise = jax.tree.map(partial(jnp.take, indices=jnp.array([i]), axis=1), system.noise)
        one = AutoregressiveSystem(system.network, system.head, noise)
        np.testing.assert_allclose(sweep(one, x[:, i : i + 1])[:, 0], swept[:, i], rtol=1e-5, atol=1e-5)


@everyone
def test_log_likelihood_is_of_a_distribution(name):
    """E_p[q / p] = 1 for any two distributions: here the last equation's under two networks, by Monte Carlo."""
    small = SMALL[name]
    system, other = (small.build(small.many, seed) for seed in (3, 4))
    x = small.rounded(solution(system))
    likelihood = jax.jit(lambda system, x: log_likelihood(system.network, system.head, x))
    log_p, log_q = likelihood(system, x), likelihood(other, x)
    assert log_p.shape == x.shape[:2]
    ratio = np.exp(np.asarray(log_q[-1] - log_p[-1], np.float64))
    assert np.std(ratio) > 0.01, "the two networks say the same: the test is vacuous"
    assert np.mean(ratio) == pytest.approx(1.0, abs=5 * np.std(ratio) / np.sqrt(ratio.size))


@everyone
def test_checkpoints_restore_everything(name, tmp_path):
    path = tmp_path / "weights.safetensors"
    config = model_config({"name": name, **SMALL[name].options})
    model = MODELS[name](config, rngs=nnx.Rngs(1))
    save_checkpoint(path, name, model, {"bits_per_dim": 1.5})
    loaded = load_checkpoint(str(path))
    assert loaded.info == {"bits_per_dim": 1.5}
    assert describe_config(name, loaded.model.config) == describe_config(name, model.config)
    assert_close(nnx.state(loaded.model), nnx.state(model))
