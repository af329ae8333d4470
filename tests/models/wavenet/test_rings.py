"""Queues as rings against plain lists of everything that ever came."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.wavenet.rings import Rings, delayed

RINGS = Rings((1, 3, 2), 2)
SIZE, CHANNELS = 8, 2  # more than every queue holds, so that steps within a block overwrite each other
LAYERS = range(len(RINGS.dilations))

write = jax.jit(lambda buffer, inputs, time, keep: RINGS.write(buffer, inputs, time, keep))
reads = {size: jax.jit(partial(RINGS.read, layers=LAYERS, size=size)) for size in (1, SIZE)}


def test_a_layers_queue_holds_its_dilation_times_the_older_taps():
    assert RINGS.lengths == (2, 6, 4)
    assert RINGS.offsets == (0, 2, 8)
    assert RINGS.total == 12


@settings(max_examples=15)
@given(
    keeps=st.lists(st.integers(0, SIZE), min_size=1, max_size=8),
    begin=st.integers(0, 100),
    seed=st.integers(0, 1000),
)
def test_reads_are_what_was_written_that_long_ago(keeps, begin, seed):
    random = np.random.default_rng(seed)
    past = {layer: [np.zeros((1, CHANNELS), np.float32)] * RINGS.lengths[layer] for layer in LAYERS}
    buffer, time = jnp.zeros((RINGS.total, 1, CHANNELS)), begin
    for keep in keeps:
        inputs = [random.normal(size=(SIZE, 1, CHANNELS)).astype(np.float32) for _ in LAYERS]
        buffer = write(buffer, inputs, jnp.int32(time), jnp.int32(keep))
        time += keep
        for layer in LAYERS:
            past[layer].extend(inputs[layer][:keep])
    for size, read in reads.items():
        found = read(buffer, time=jnp.int32(time))
        for layer, dilation in enumerate(RINGS.dilations):
            for tap in (1, 2):
                count = min(size, tap * dilation)
                end = len(past[layer]) - tap * dilation
                np.testing.assert_array_equal(found[layer][tap - 1], past[layer][end : end + count])


@pytest.mark.parametrize("keep", [0, 1, SIZE])
def test_a_known_number_of_steps_is_written_as_a_dynamic_one(keep):
    inputs = [jnp.asarray(np.random.default_rng(i).normal(size=(SIZE, 1, CHANNELS)), jnp.float32) for i in LAYERS]
    buffer = jnp.full((RINGS.total, 1, CHANNELS), 9.0)
    known = jax.jit(partial(RINGS.write, keep=keep))(buffer, inputs, jnp.int32(5))
    np.testing.assert_array_equal(known, write(buffer, inputs, jnp.int32(5), jnp.int32(keep)))


def test_a_tap_reads_its_block_behind_what_came_before():
    past, inputs = jnp.arange(3.0).reshape(3, 1, 1), 10 + jnp.arange(5.0).reshape(5, 1, 1)
    np.testing.assert_array_equal(delayed(past, inputs)[:, 0, 0], [0, 1, 2, 10, 11])
    np.testing.assert_array_equal(delayed(inputs, inputs), inputs)


@pytest.mark.parametrize("time", [0, 12, 2**30 - 1, 2**30, 2**30 + 7])
def test_wrapped_time_has_the_same_slots_and_stays_small(time):
    wrapped = int(RINGS.wrapped(time))
    assert 0 <= wrapped < 2**30
    for length in RINGS.lengths:
        assert wrapped % length == time % length
