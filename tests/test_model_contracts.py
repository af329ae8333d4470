"""The theorem, on every registered model: causality, one definition for all block sizes, caches, batch independence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bank import tiny_made
from hypothesis import given, settings
from hypothesis import strategies as st

from models import MODELS, describe_config, model_class, model_config
from models.autoregressive import AutoregressiveSystem, log_likelihood
from models.checkpoints import load_checkpoint, save_checkpoint
from solvers import BlockSystem, ForwardSubstitution, Jacobi, solve
from solvers.sequential import substitute_by_updates, substitute_forward

# A small system of every registered model, as (num_equations, batch, seed) -> system. A new model adds itself here.
SMALL = {"made": tiny_made}
SHAPES = [(1, 1), (7, 2), (12, 3)]
shapes = st.sampled_from(SHAPES)
seeds = st.integers(0, 1000)
everyone = pytest.mark.parametrize("name", MODELS)


def random_state(system, seed):
    guess = system.initial_guess()
    return jax.random.normal(jax.random.key(seed + 1), guess.shape, guess.dtype)


def test_every_model_has_a_small_system():
    assert set(SMALL) == set(MODELS)


@everyone
def test_protocols(name):
    system = SMALL[name](6, 2, 0)
    assert isinstance(system, BlockSystem)
    assert isinstance(system, ForwardSubstitution)
    assert system.num_equations == 6


@everyone
@settings(max_examples=6)
@given(shape=shapes, seed=seeds)
def test_causality(name, shape, seed):
    system = SMALL[name](*shape, seed)
    x, other = random_state(system, seed), random_state(system, seed + 7)
    swept = system.sweep(x)
    for t in range(shape[0]):
        mixed = jnp.where(jnp.arange(shape[0])[:, None] < t, x, other)
        np.testing.assert_array_equal(system.sweep(mixed)[: t + 1], swept[: t + 1])


@everyone
@settings(max_examples=4)
@given(shape=shapes, seed=seeds)
def test_every_equation_reads_its_prefix(name, shape, seed):
    if shape[0] == 1:
        return
    system = SMALL[name](*shape, seed)
    x = random_state(system, seed)
    changed = system.sweep(x.at[0].add(1.0)) != system.sweep(x)
    assert np.any(changed), "no equation depends on the first one: the model is vacuous"


@everyone
@settings(max_examples=6)
@given(shape=shapes, seed=seeds, size=st.sampled_from([1, 2, 5, 12]))
def test_first_block_equals_sweep_at_a_random_state(name, shape, seed, size):
    system = SMALL[name](*shape, seed)
    size = min(size, shape[0])
    x = random_state(system, seed)
    block, _ = system.update(x[:size], system.init_cache(), 0, size)
    np.testing.assert_allclose(block, system.sweep(x)[:size], rtol=1e-5, atol=1e-5)


@everyone
@settings(max_examples=6)
@given(shape=shapes, seed=seeds, size=st.sampled_from([1, 2, 5]))
def test_blocks_in_order_equal_the_sweep_at_a_solution(name, shape, seed, size):
    system = SMALL[name](*shape, seed)
    x = solve(system, Jacobi()).value
    cache = system.init_cache()
    padded = jnp.concatenate([x, jnp.zeros_like(x[:1]).repeat(size, axis=0)])
    for start in range(0, shape[0], size):
        block, cache = system.update(padded[start : start + size], cache, start, size)
        count = min(size, shape[0] - start)
        np.testing.assert_allclose(block[:count], x[start : start + count], rtol=1e-5, atol=1e-5)


@everyone
@settings(max_examples=6)
@given(shape=shapes, seed=seeds, size=st.sampled_from([1, 2, 5]))
def test_one_block_at_a_random_state_given_its_prefix(name, shape, seed, size):
    """The values of a block are the sweep's at (prefix, guesses), whatever the guesses are."""
    system = SMALL[name](*shape, seed)
    size = min(size, shape[0])
    x = random_state(system, seed)
    solution = solve(system, Jacobi()).value
    start = (shape[0] // size - 1) * size
    _, cache = substitute_forward(system, system.init_cache(), 0, start) if start else (None, system.init_cache())
    block, _ = system.update(x[start : start + size], cache, jnp.int32(start), size)
    at_prefix = system.sweep(jnp.where(jnp.arange(shape[0])[:, None] < start, solution, x))
    np.testing.assert_allclose(block, at_prefix[start : start + size], rtol=1e-5, atol=1e-5)


@everyone
@settings(max_examples=6)
@given(shape=shapes, seed=seeds)
def test_a_cached_step_does_not_read_its_guess(name, shape, seed):
    system = SMALL[name](*shape, seed)
    clean, _ = system.update(jnp.zeros_like(system.initial_guess()[:1]), system.init_cache(), 0, 1)
    spoiled, cache = system.update(system.initial_guess()[:1] * jnp.nan, system.init_cache(), 0, 1)
    np.testing.assert_array_equal(spoiled, clean)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(cache))


@everyone
@settings(max_examples=6)
@given(shape=shapes, seed=seeds, size=st.sampled_from([2, 3, 5]))
def test_forward_substitution_equals_updates_and_so_do_the_caches(name, shape, seed, size):
    system = SMALL[name](*shape, seed)
    fast, slow = system.init_cache(), system.init_cache()
    for start in range(0, shape[0], size):
        values, fast = system.forward_substitution(fast, jnp.int32(start), size)
        expected, slow = substitute_by_updates(system, slow, jnp.int32(start), size)
        count = min(size, shape[0] - start)
        np.testing.assert_allclose(values[:count], expected[:count], rtol=1e-5, atol=1e-5)
        if count == size:
            for a, b in zip(jax.tree.leaves(fast), jax.tree.leaves(slow), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@everyone
@settings(max_examples=6)
@given(shape=shapes, seed=seeds, size=st.sampled_from([1, 3, 4]))
def test_prefix_caches_are_the_caches_at_the_block_starts(name, shape, seed, size):
    system = SMALL[name](*shape, seed)
    x = solve(system, Jacobi()).value
    together = system.prefix_caches(x, size)
    cache = system.init_cache()
    for i, start in enumerate(range(0, shape[0], size)):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(cache), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5)
        _, cache = substitute_forward(system, cache, jnp.int32(start), size)


@everyone
@settings(max_examples=4)
@given(shape=shapes, seed=seeds)
def test_samples_of_a_batch_are_independent(name, shape, seed):
    system = SMALL[name](*shape, seed)
    x = random_state(system, seed)
    for i in range(shape[1]):
        one = AutoregressiveSystem(
            system.network,
            system.head,
            jax.tree.map(lambda a: a[:, i : i + 1], system.noise),  # noqa: B023
        )
        np.testing.assert_allclose(one.sweep(x[:, i : i + 1])[:, 0], system.sweep(x)[:, i], rtol=1e-5, atol=1e-5)


@everyone
def test_log_likelihood_is_of_a_distribution(name):
    """Under one's own samples the score has mean zero: here the first equation's, by Monte Carlo."""
    system = SMALL[name](4, 4000, 3)
    x = solve(system, Jacobi()).value
    log_p = log_likelihood(system.network, system.head, x)
    assert log_p.shape == x.shape
    shifted = log_likelihood(system.network, system.head, x.at[-1].add(0.3))
    # E[p(x + d) / p(x)] = 1 for any shift d, as both are densities.
    ratio = np.mean(np.exp(np.asarray(shifted[-1] - log_p[-1], np.float64)))
    assert ratio == pytest.approx(1.0, abs=0.1)


@everyone
def test_checkpoints_restore_everything(name, tmp_path):
    path = tmp_path / "weights.safetensors"
    from flax import nnx

    model = model_class(name)(model_config({"name": name, "num_inputs": 9, "hidden_sizes": [6]}), rngs=nnx.Rngs(1))
    save_checkpoint(path, name, model, {"bits_per_dim": 1.5})
    loaded = load_checkpoint(str(path))
    assert loaded.info == {"bits_per_dim": 1.5}
    assert describe_config(name, loaded.model.config) == describe_config(name, model.config)
    for a, b in zip(jax.tree.leaves(nnx.state(loaded.model)), jax.tree.leaves(nnx.state(model)), strict=True):
        np.testing.assert_array_equal(a, b)
