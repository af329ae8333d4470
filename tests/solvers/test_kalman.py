"""The filter that damps ELK's steps, in each of its forms, against a plain loop in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers.linear import kalman
from solvers.linear.kalman import filter_means


@pytest.fixture(params=["in turn", "by scans"])
def means(request, monkeypatch):
    """The filter as a CPU computes it, and as an accelerator does."""
    monkeypatch.setattr(kalman, "on_cpu", lambda: request.param == "in turn")
    return jax.jit(lambda *arguments: filter_means(*arguments))


def system(length, batch, size, *, full, gain=0.9, dtype=np.float32):
    rng = np.random.default_rng(0)
    scale = gain / size**0.5 if full else gain
    j = scale * rng.standard_normal((length, batch, size, size) if full else (length, batch, size))
    gap = rng.standard_normal((length, batch, size))
    weight = 10.0 ** rng.uniform(-2, 2, batch)
    return j.astype(dtype), gap.astype(dtype), weight.astype(dtype), rng.random((length, batch)) < 0.1


def loop(j, gap, weight, known):
    """The filter as it is written in books."""
    full = (j[..., None] * np.eye(j.shape[-1]) if j.ndim == 3 else j).astype(np.float64)
    one, covariance, mean, means = np.eye(j.shape[-1]), 0.0 * full[0], np.zeros(gap.shape[1:]), np.zeros(gap.shape)
    for t in range(len(full)):
        predicted = full[t] @ covariance @ np.swapaxes(full[t], 1, 2) + one
        damping = np.linalg.inv(one + weight[:, None, None] * predicted)
        mean = gap[t] + np.einsum("bij,bj->bi", full[t], mean)
        mean = np.where(known[t][:, None], gap[t], np.einsum("bij,bj->bi", damping, mean))
        covariance = np.where(known[t][:, None, None], 0.0, predicted @ damping)
        means[t] = mean
    return means


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
@pytest.mark.parametrize(("length", "batch", "size"), [(1, 1, 1), (50, 3, 2), (45, 2, 9)])
def test_the_means_are_those_of_the_filter(means, length, batch, size, full):
    given = system(length, batch, size, full=full)
    np.testing.assert_allclose(means(*given), loop(*given), rtol=0, atol=1e-5)


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_an_expansive_recurrence_stays_bounded(means, full):
    given = system(300, 3, 2, full=full, gain=4.0)
    expected = loop(*given)
    np.testing.assert_allclose(means(*given), expected, rtol=0, atol=3e-4 * np.abs(expected).max())


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_weights_from_none_to_all(means, full):
    j, gap, _, known = system(60, 3, 2, full=full)
    given = (j, gap, np.array([0.0, 1e-8, 1e8], np.float32), known)
    np.testing.assert_allclose(means(*given), loop(*given), rtol=0, atol=1e-5 * np.abs(loop(*given)).max())


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_samples_are_independent_and_the_past_reads_no_future(means, full):
    j, gap, weight, known = system(60, 3, 2, full=full)
    healthy = np.asarray(means(j, gap, weight, known))
    for bad in (np.nan, np.inf):
        spoiled = j.copy()
        spoiled[23, 1] = bad
        known[22:24, 1] = False
        got, reference = np.asarray(means(spoiled, gap, weight, known)), np.asarray(means(j, gap, weight, known))
        np.testing.assert_array_equal(got[:, [0, 2]], healthy[:, [0, 2]])
        np.testing.assert_array_equal(got[:23, 1], reference[:23, 1])
        assert not np.isfinite(got[23, 1]).any()


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_double_precision_stays(x64, means, full):
    given = tuple(map(jnp.asarray, system(60, 2, 3, full=full, dtype=np.float64)))
    assert means(*given).dtype == jnp.float64
    np.testing.assert_allclose(means(*given), loop(*map(np.asarray, given)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (4, 2, 0)])
def test_nothing_to_filter(means, shape):
    j, gap = jnp.zeros((*shape, shape[-1])), jnp.zeros(shape)
    assert means(j, gap, jnp.ones(shape[1]), jnp.zeros(shape[:2], bool)).shape == shape


def test_variances_that_rounding_left_below_one_count_as_one():
    state = jnp.array([[[-1e-3], [2.0]]])
    np.testing.assert_allclose(kalman.observed(state, jnp.ones(1))[0, 1], 1.0)
