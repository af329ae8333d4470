"""Attention against plain loops, in all its forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.language.model import Language, LanguageConfig
from models.transformer import attention
from models.transformer.attention import KeysValues, attend, attend_before, turned
from models.transformer.config import TransformerConfig


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def memory_of(length, batch=2, groups=2, width=3):
    return KeysValues.of(drawn(1, length, batch, groups, width), drawn(2, length, batch, groups, width))


def by_loops(queries, memory, start):
    """One position, sample and head after the other, in double precision."""
    size, batch, heads, width = queries.shape
    keys, values = np.asarray(memory.keys, np.float64), np.asarray(memory.values, np.float64)
    found = np.zeros((size, batch, heads, width))
    for s in range(size):
        for b in range(batch):
            for h in range(heads):
                g = h // (heads // keys.shape[1])
                scores = np.asarray(queries[s, b, h], np.float64) @ keys[b, g][:, : start + s + 1] / np.sqrt(width)
                weights = np.exp(scores - scores.max())
                found[s, b, h] = weights / weights.sum() @ values[b, g][: start + s + 1]
    return found.reshape(size, batch, heads * width)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_head_reads_the_keys_and_values_of_its_group(groups):
    queries, memory = drawn(0, 5, 2, 4, 3), memory_of(5, groups=groups)
    seen = jnp.tril(jnp.ones((5, 5), bool))
    np.testing.assert_allclose(attend(queries, memory, seen), by_loops(queries, memory, 0), atol=1e-6)


@pytest.mark.parametrize(("size", "start"), [(12, 0), (7, 0), (5, 4), *((1, start) for start in range(12))])
def test_positions_that_are_not_seen_may_be_left_unread(size, start, monkeypatch):
    """A sequence part by part and a single position by quarters, as on a CPU with long sequences."""
    monkeypatch.setattr(attention, "_AT_ONCE", 4)
    monkeypatch.setattr(attention, "_QUARTERED", 8)
    queries, memory = drawn(start, size, 2, 4, 3), memory_of(12)
    expected = by_loops(queries, memory, start)
    np.testing.assert_allclose(attend_before(queries, memory, start), expected, atol=1e-6)
    traced = jax.jit(attend_before)(queries, memory, jnp.int32(start))
    np.testing.assert_allclose(traced, expected, atol=1e-6)
    monkeypatch.setattr(attention, "on_cpu", lambda: False)
    np.testing.assert_allclose(attend_before(queries, memory, start), expected, atol=1e-6)


def test_turned_products_tell_distances_alone():
    q, k = drawn(0, 1, 1, 1, 6), drawn(1, 1, 1, 1, 6)

    def product(i, j):
        return float(jnp.sum(turned(q, jnp.array([i])) * turned(k, jnp.array([j]))))

    assert product(9, 4) == pytest.approx(product(105, 100), abs=1e-4)
    assert product(9, 4) != pytest.approx(product(9, 5), abs=1e-3)


def test_a_memory_takes_the_first_of_a_block_and_drops_what_passes_its_end():
    empty, block = KeysValues.empty(2, 2, 5, 3, jnp.dtype("float32")), memory_of(4)
    kept = empty.put(block, 1, jnp.int32(2))
    np.testing.assert_array_equal(kept.values[:, :, 1:3], block.values[:, :, :2])
    assert not kept.values[:, :, 3:].any()
    assert not kept.keys[..., 3:].any()
    late = empty.put(block, 3)
    np.testing.assert_array_equal(late.keys[..., 3:], block.keys[..., :2])
    assert not late.keys[..., :3].any()


def test_bfloat16_is_near_float32():
    config = {"width": 16, "num_layers": 2, "num_heads": 2, "alphabet": "abcd", "context": 8}
    exact, rough = (
        Language(LanguageConfig(**config, dtype=dtype), rngs=nnx.Rngs(0)).fold() for dtype in ("float32", "bfloat16")
    )
    x = jnp.zeros((8, 2), jnp.int32)
    logits, coarse = (network.conditionals(x, network.init_cache(2, x.dtype), 0, 8, 8)[0] for network in (exact, rough))
    assert coarse.dtype == jnp.float32
    assert rough.init_cache(2, x.dtype).layers[0].keys.dtype == jnp.bfloat16
    assert 0 < float(jnp.max(jnp.abs(logits - coarse))) < 0.05


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"width": 10, "num_heads": 3}, "num_heads 3 does not divide width 10"),
        ({"num_heads": 4, "num_kv_heads": 3}, "num_kv_heads 3 does not divide num_heads 4"),
        ({"width": 6, "num_heads": 2}, "positions: rope turns pairs of features, and a head has 3 of them"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        TransformerConfig(**options)
