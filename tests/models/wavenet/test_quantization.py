"""Tests of models/wavenet/quantization.py: classes of sound, evenly spaced and mu-law."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.wavenet.quantization import QUANTIZERS, Linear, MuLaw, Quantizer

SIZES = (2, 3, 16, 255, 256, 65_536)
ALL = [kind(size) for kind in QUANTIZERS.values() for size in SIZES]
encode = jax.jit(lambda quantizer, x: quantizer.encode(x), static_argnums=0)
decode = jax.jit(lambda quantizer, ids: quantizer.decode(ids), static_argnums=0)


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_values_rise_from_minus_one_to_one_and_are_symmetric(kind: Quantizer) -> None:
    values = kind.values
    assert values.dtype == np.float32
    assert values.shape == (kind.num_classes,)
    assert (values[0], values[-1]) == (-1.0, 1.0)
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(values, -values[::-1], atol=1e-7)


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_every_class_is_its_value_and_back(kind: Quantizer) -> None:
    ids = np.arange(kind.num_classes)
    decoded = decode(kind, ids)
    assert decoded.dtype == jnp.float32
    np.testing.assert_array_equal(decoded, kind.values)
    again = encode(kind, decoded)
    assert again.dtype == jnp.int32
    np.testing.assert_array_equal(again, ids)


@pytest.mark.parametrize("size", [2, 16, 256])
def test_linear_is_the_nearest_value(size: int) -> None:
    x = np.random.RandomState(0).uniform(-1, 1, (40, 50)).astype(np.float32)
    ids = np.asarray(encode(Linear(size), x))
    assert ids.shape == x.shape
    nearest = np.abs(np.linspace(-1, 1, size) - x[..., None]).min(axis=-1)
    np.testing.assert_allclose(np.abs(Linear(size).values[ids] - x), nearest, atol=1e-6)


@pytest.mark.parametrize("size", [2, 16, 256])
def test_mu_law_is_within_half_a_step_of_the_companded_value(size: int) -> None:
    # f as a mathematician writes it, in float64 and by another formula than the module's.
    mu = size - 1
    x = np.random.RandomState(1).uniform(-1, 1, 2000).astype(np.float32)
    back = np.asarray(decode(MuLaw(size), encode(MuLaw(size), x)))
    before, after = ([math.copysign(math.log(1 + mu * abs(v)) / math.log(1 + mu), v) for v in y] for y in (x, back))
    assert np.abs(np.subtract(before, after)).max() <= 1 / mu + 1e-6
    order = np.argsort(x)
    assert (np.diff(back[order]) >= 0).all()


def test_mu_law_256_has_the_known_values() -> None:
    # sign(y) (256^|y| - 1) / 255 at y = 2k / 255 - 1
    known = {0: -1.0, 127: -(256 ** (1 / 255) - 1) / 255, 128: (256 ** (1 / 255) - 1) / 255, 191: 0.0581}
    for k, value in known.items():
        assert MuLaw().values[k] == pytest.approx(value, rel=2e-3)
    assert encode(MuLaw(), jnp.array([0.0])).tolist() == [128]
    assert float(np.abs(MuLaw().values).min()) < 1e-4 < float(np.abs(Linear().values).min())


@pytest.mark.parametrize("kind", [MuLaw(16), Linear(16)], ids=str)
def test_out_of_range_is_the_end(kind: Quantizer) -> None:
    assert encode(kind, jnp.array([-math.inf, -1.5, 1.5, math.inf])).tolist() == [0, 0, 15, 15]


def test_table_and_errors() -> None:
    assert QUANTIZERS["mu_law"]() == MuLaw(256)
    assert QUANTIZERS["linear"](16) == Linear(16)
    with pytest.raises(ValueError, match="unknown quantization 'mulaw'; did you mean 'mu_law'"):
        QUANTIZERS["mulaw"]
    for kind in QUANTIZERS.values():
        for bad in (-1, 0, 1, 65_537):
            with pytest.raises(ValueError, match=f"num_classes should be from 2 to 65536, not {bad}"):
                kind(bad)
