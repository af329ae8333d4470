"""Generation without end: call by call, against the solvers, after prompts, in constant memory."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.wavenet.generation import begin, generate
from solvers import CachedSequential, Jacobi, solve
from solvers.heads.categorical import Argmax
from solvers.systems.autoregressive import AutoregressiveSystem, Known
from tests.kit.bank import tiny_wavenet

B, T, SEED = 2, 23, 5  # programs for T samples are shared

sweep = jax.jit(lambda system, x: system.sweep(x))


@pytest.fixture(scope="module")
def system():
    """Two samples of 23 steps, gumbel noise of the key that ``start`` has."""
    tiny = tiny_wavenet(T, B, SEED)
    return replace(tiny, noise=tiny.head.draw_noise(key(), T, B))


def key():
    return jax.random.key(SEED)


def nothing():
    return jnp.zeros((0, B), jnp.int32)


def ids_of(network, head, state, sizes):
    """Samples of calls of these lengths one after the other, and the state at the end."""
    parts = []
    for size in sizes:
        ids, state = generate(network, head, state, size)
        parts.append(np.asarray(ids))
    return np.concatenate(parts), state


def test_calls_do_not_matter(system):
    """Also where noise is drawn in pieces of 1,024 samples, and where a call asks for none."""
    network, head = system.network, system.head
    together, end = ids_of(network, head, begin(network, nothing(), key()), [1047])
    apart, other = ids_of(network, head, begin(network, nothing(), key()), [T, 0, 1024])
    np.testing.assert_array_equal(apart, together)
    assert int(end.time) == int(other.time) == int(end.drawn) == int(other.drawn) == 1047
    np.testing.assert_allclose(other.cache.queues, end.cache.queues, atol=1e-5)
    np.testing.assert_array_equal(other.cache.ids, end.cache.ids)
    assert len(np.unique(together)) > 2, "nearly constant: the test is vacuous"


@pytest.mark.parametrize("solver", [CachedSequential(), Jacobi()], ids=lambda s: type(s).__name__)
def test_samples_are_those_of_the_solvers(system, solver):
    ids, _ = ids_of(system.network, system.head, begin(system.network, nothing(), key()), [T])
    np.testing.assert_array_equal(solve(system, solver).value, ids)


@pytest.mark.parametrize("length", [0, 1, 17])
def test_a_prompt_is_a_known_beginning(system, length):
    """Of any length, here up to more than the receptive field."""
    network, head = system.network, system.head
    assert network.receptive_field < 17
    prompt = jnp.asarray(np.random.default_rng(length).integers(0, 5, (length, B)), jnp.int32)
    ids, state = ids_of(network, head, begin(network, prompt, key()), [T])
    assert int(state.time) == length + T
    noise = jax.tree.map(lambda a: jnp.concatenate([jnp.zeros((length, *a.shape[1:])), a]), system.noise)
    values = jnp.concatenate([prompt, jnp.zeros((T, B), jnp.int32)])
    longer = replace(network, num_equations=length + T)
    completion = AutoregressiveSystem(longer, head, noise, Known(values, jnp.int32(length)))
    continued = jnp.concatenate([prompt, ids])
    np.testing.assert_array_equal(sweep(completion, continued), continued)  # the one solution there is


def test_a_prompt_is_heard(system):
    network, head = system.network, system.head
    prompts = [jnp.full((4, B), i, jnp.int32) for i in range(5)]
    continued = [ids_of(network, head, begin(network, prompt, key()), [T])[0] for prompt in prompts]
    assert any(np.any(ids != continued[0]) for ids in continued[1:])


def test_frames_are_those_of_the_call():
    """Local conditioning, 4 samples a frame: two calls, each with its own frames, and one with all of them."""
    system = tiny_wavenet(16, B, SEED, "gated")
    network, shares = system.network, system.network.stack.shares
    halves = [
        replace(network, stack=replace(network.stack, shares=replace(shares, local=shares.local[half])))
        for half in (slice(0, 2), slice(2, 4))
    ]
    together, _ = ids_of(network, system.head, begin(network, nothing(), key()), [16])
    first, state = ids_of(halves[0], system.head, begin(network, nothing(), key()), [8])
    second, _ = ids_of(halves[1], system.head, state, [8])
    np.testing.assert_array_equal(np.concatenate([first, second]), together)


def test_a_state_holds_the_queues_and_nothing_that_grows():
    """dilation x (width - 1) rows a layer, the ids that the first layer reads, and three numbers."""
    network = tiny_wavenet(3, B, 0, dilations=(2, 4, 8), filter_width=3).network
    state = begin(network, nothing(), key())
    assert state.cache.queues.shape == (2 * (4 + 8), B, 4)
    assert state.cache.ids.shape == (1 + 2 * 2, B)
    later = jax.eval_shape(lambda state: generate(network, Argmax(5), state, 64)[1], state)
    shapes = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(s)] for s in (state, later)]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 5


def test_memory_does_not_grow_with_time(system):
    """All that a compiled call needs, but for the ids that it returns."""

    def needed(num_samples):
        state = begin(system.network, nothing(), key())
        analysis = generate.lower(system.network, system.head, state, num_samples).compile().memory_analysis()
        ids = 4 * B * num_samples
        return analysis.temp_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes - ids

    assert needed(65_536) <= needed(2_048) < 4 * B * 65_536


def test_time_wraps_without_a_trace(system):
    """From a state just before its time wraps, as from the same state early on; noise is counted on its own."""
    network = system.network
    rings = network.stack.rings
    period = int(np.lcm.reduce(rings.lengths))
    wraps = period * (2**30 // period)
    _, state = generate(network, system.head, begin(network, nothing(), key()), T)
    late = jax.tree.map(jnp.copy, replace(state, time=state.time + wraps - 2 * period))
    early, _ = ids_of(network, system.head, state, [T])
    wrapped, end = ids_of(network, system.head, late, [T])
    np.testing.assert_array_equal(wrapped, early)
    assert 2 * period - T < T, "it did not wrap: the test is vacuous"
    assert int(end.time) == 2 * T - 2 * period


def test_noise_goes_on_beyond_what_a_number_holds(system):
    network = system.network
    late = [replace(begin(network, nothing(), key()), drawn=jnp.int32(2**31 - 3)) for _ in range(2)]
    together, _ = ids_of(network, system.head, late[0], [1047])
    apart, end = ids_of(network, system.head, late[1], [T, 1024])
    np.testing.assert_array_equal(apart, together)
    assert int(end.drawn) == -(2**31) + 1044


@pytest.mark.parametrize("far", [2**30 - 150, 2**31 - 300 - 40 - T])
def test_time_goes_on_where_queues_have_no_short_period_in_common(far):
    """The same state at a time far away, its queues turned to where that time finds them, gives the same samples."""
    system = tiny_wavenet(T, B, 0, dilations=(1, 7, 11, 13, 17, 19, 23, 29, 31))
    network, rings = system.network, system.network.stack.rings
    assert np.lcm.reduce(rings.lengths) > 2**30, "its time wraps: the test is vacuous"
    _, state = generate(network, system.head, begin(network, nothing(), key()), 40)
    parts = [
        jnp.roll(state.cache.queues[first : first + length], far % length, axis=0)
        for first, length in zip(rings.offsets, rings.lengths, strict=True)
    ]
    late = replace(state, cache=replace(state.cache, queues=jnp.concatenate(parts)), time=state.time + far)
    late = jax.tree.map(jnp.copy, late)
    early, _ = ids_of(network, system.head, state, [100, 200])
    later, end = ids_of(network, system.head, late, [100, 200])
    np.testing.assert_array_equal(later, early)
    assert 0 <= int(end.time) < 2**30 + 300
