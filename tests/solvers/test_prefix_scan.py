"""Prefix scans against plain loops in double precision: values, chains, samples, what is not finite, compiled text."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.linear.matrices import UNROLLED_UP_TO, Diagonals, Full, SmallFull, matrices
from solvers.linear.prefix_scan import affine_scan, chain_length, chunk_length, covariance_scan, prefix_scan
from tests.kit.compiled_text import while_bodies

affine = jax.jit(affine_scan)
covariances = jax.jit(covariance_scan)


def affine_system(length, batch, size, *, full=True, seed=0, dtype=np.float32):
    """Matrices of norm about 0.9 and states of order one."""
    rng = np.random.default_rng(seed)
    scale = 0.9 / max(1, size) ** 0.5 if full else 0.9
    a = scale * rng.standard_normal((length, batch, size, size) if full else (length, batch, size))
    b = rng.standard_normal((length, batch, size))
    return a.astype(dtype), b.astype(dtype), rng.standard_normal((batch, size)).astype(dtype)


def affine_loop(a, b, initial):
    y, state = np.zeros(b.shape), initial.astype(np.float64)
    for t in range(len(b)):
        product = np.einsum("bij,bj->bi", a[t], state) if a.ndim == 4 else a[t] * state
        state = product + b[t]
        y[t] = state
    return y


def filter_loop(j, weight, known=None):
    """The filter as it is written in books, in double precision; diagonals as matrices."""
    diagonal = j.ndim == 3
    full = (j[..., None] * np.eye(j.shape[-1]) if diagonal else j).astype(np.float64)
    predicted, state = np.zeros(full.shape), np.zeros(full.shape[1:])
    one = np.eye(j.shape[-1])
    for t in range(len(full)):
        predicted[t] = full[t] @ state @ np.swapaxes(full[t], 1, 2) + one
        state = predicted[t] @ np.linalg.inv(one + weight[:, None, None] * predicted[t])
        if known is not None:
            state = np.where(known[t][:, None, None], 0, state)
    return np.einsum("tbii->tbi", predicted) if diagonal else predicted


def close(value, reference, rtol):
    np.testing.assert_allclose(value, reference, rtol=0, atol=rtol * max(1.0, np.abs(reference).max(initial=0)))


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
@pytest.mark.parametrize(
    ("length", "batch", "size"),
    [(1, 1, 1), (2, 3, 2), (40, 1, 3), (41, 2, 1), (50, 1, 2), (100, 2, 4), (1000, 1, 2), (44, 16, UNROLLED_UP_TO + 1)],
)
def test_affine_scan_is_the_recurrence(length, batch, size, full):
    system = affine_system(length, batch, size, full=full)
    close(affine(*system), affine_loop(*system), 2e-6)


@settings(max_examples=12)
@given(st.integers(0, 300), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(0, 1000))
def test_affine_scan_of_any_shape(length, batch, size, full, seed):
    system = affine_system(length, batch, size, full=full, seed=seed)
    close(affine(*system), affine_loop(*system), 5e-6)


@pytest.mark.parametrize(("units", "size"), [(3, 2), (2, 1)])
def test_a_scan_of_blocks_is_that_of_the_full_matrices(units, size):
    blocks, _, _ = affine_system(60, 2 * units, size, full=True)
    blocks = blocks.reshape(60, 2, units, size, size)
    _, b, initial = affine_system(60, 2, units * size, full=False)
    full = np.zeros((60, 2, units * size, units * size), np.float32)
    for unit in range(units):
        full[..., unit::units, unit::units] = blocks[:, :, unit]
    close(affine(blocks, b, initial), affine_loop(full, b, initial), 2e-6)


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_double_precision_stays(x64, full):
    a, b, initial = map(jnp.asarray, affine_system(200, 2, 3, full=full, dtype=np.float64))
    y = affine_scan(a, b, initial)
    assert y.dtype == jnp.float64
    close(y, affine_loop(a, b, initial), 1e-14)
    weight = jnp.array([0.3, 4.0])
    predicted = covariance_scan(a, weight)
    assert predicted.dtype == jnp.float64
    close(predicted, filter_loop(a, weight), 1e-13)


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (4, 2, 0)])
@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_nothing_to_scan(shape, full):
    a, b, initial = map(jnp.asarray, affine_system(*shape, full=full))
    assert affine_scan(a, b, initial).shape == shape
    assert covariance_scan(a, jnp.ones(shape[1])).shape == a.shape


def test_a_long_diagonal_scan_keeps_its_digits():
    a = np.full((10_000, 1, 1), 0.999, np.float32)
    b = np.ones((10_000, 1, 1), np.float32)
    close(affine(a, b, np.zeros((1, 1), np.float32)), affine_loop(a, b, np.zeros((1, 1))), 1e-5)


def test_the_chain_is_short():
    assert [chain_length(n) for n in (0, 1, 40)] == [0, 1, 40]
    lengths = [*range(41, 400), 1000, 10_000, 100_000, 1_000_000]
    assert all(chain_length(n) < n for n in lengths)
    assert chain_length(100) <= 30
    assert chain_length(10_000) <= 10_000 // 8 + 8
    assert chain_length(1_000_000) <= 200
    assert chunk_length(1000) == 10, "a divisor is near"
    assert 10_000 // chunk_length(10_000) >= 8, "too few chunks that are independent"


def loops(jaxpr):
    """The lengths of all loops, those inside others multiplied."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [sub for value in equation.params.values() for sub in jax.tree.leaves(value, is_leaf=is_jaxpr)]
        below = sum(loops(sub.jaxpr) for sub in inner if is_jaxpr(sub))
        if equation.primitive.name == "scan":
            total += equation.params["length"] * max(1, below)
        else:
            assert equation.primitive.name != "while"
            total += below
    return total


def is_jaxpr(value):
    return hasattr(value, "jaxpr")


@pytest.mark.parametrize("length", [5, 30, 1000, 10_000])
def test_the_chain_is_what_it_is_said_to_be(length):
    """As many steps follow one another in the traced program."""
    system = [jnp.asarray(x) for x in affine_system(length, 1, 2)]
    assert loops(jax.make_jaxpr(affine_scan)(*system).jaxpr) == chain_length(length)
    traced = jax.make_jaxpr(covariance_scan)(system[0], jnp.ones(1))
    assert loops(traced.jaxpr) == chain_length(length)


@pytest.mark.parametrize("size", [2, UNROLLED_UP_TO + 1])
@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_samples_are_independent_and_the_past_reads_no_future(full, size):
    a, b, initial = affine_system(60, 3, size, full=full)
    weight = np.array([0.5, 1.0, 2.0], np.float32)
    y, predicted = np.asarray(affine(a, b, initial)), np.asarray(covariances(a, weight))
    for bad in (np.nan, np.inf):
        for t in (0, 23, 59):
            spoiled, spoiled_b = a.copy(), b.copy()
            spoiled[t, 1], spoiled_b[t, 1] = bad, bad
            for got, reference in (
                (np.asarray(affine(spoiled, b, initial)), y),
                (np.asarray(affine(a, spoiled_b, initial)), y),
                (np.asarray(covariances(spoiled, weight)), predicted),
            ):
                np.testing.assert_array_equal(got[:, [0, 2]], reference[:, [0, 2]])
                np.testing.assert_array_equal(got[:t, 1], reference[:t, 1])
            assert not np.isfinite(np.asarray(affine(spoiled, b, initial))[t, 1]).any()
            if t:
                assert not np.isfinite(np.asarray(covariances(spoiled, weight))[t, 1]).all()


def test_scans_are_batched_by_vmap():
    systems = [affine_system(60, 2, 2, seed=seed) for seed in (0, 1)]
    stacked = [np.stack(parts) for parts in zip(*systems, strict=True)]
    for got, system in zip(jax.jit(jax.vmap(affine_scan))(*stacked), systems, strict=True):
        np.testing.assert_allclose(got, affine(*system), rtol=1e-6, atol=1e-6)
    weights = np.array([[0.1, 1.0], [2.0, 30.0]], np.float32)
    for got, system, weight in zip(
        jax.jit(jax.vmap(covariance_scan))(stacked[0], weights), systems, weights, strict=True
    ):
        np.testing.assert_allclose(got, covariances(system[0], weight), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
@pytest.mark.parametrize(("length", "size"), [(1, 2), (2, 1), (41, 3), (60, 2), (1000, 2), (50, UNROLLED_UP_TO + 1)])
def test_covariance_scan_is_the_filter(length, size, full):
    j = affine_system(length, 4, size, full=full)[0]
    weight = np.array([0.0, 1e-3, 1.0, 1e4], np.float32)
    expected = filter_loop(j, weight)
    predicted = covariances(j, weight)
    assert predicted.shape == j.shape
    for sample in range(4):
        close(predicted[:, sample], expected[:, sample], 1e-5)


@pytest.mark.parametrize("gain", [1.5, 4.0])
@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_covariances_of_an_expansive_recurrence_stay_bounded(full, gain):
    """Unobserved they would overflow; observed, no filtered variance exceeds 1 / w."""
    j = gain * affine_system(300, 3, 2, full=full)[0] / np.float32(0.9)
    weight = np.array([1e-3, 0.1, 10.0], np.float32)
    expected = filter_loop(j, weight)
    predicted = np.asarray(covariances(j, weight))
    assert np.isfinite(predicted).all()
    for sample in range(3):
        close(predicted[:, sample], expected[:, sample], 3e-4)  # as a plain loop in float32


@pytest.mark.parametrize("full", [True, False], ids=["full", "diagonal"])
def test_known_equations_carry_no_variance(full):
    j = affine_system(50, 3, 2, full=full)[0]
    weight, known = np.full(3, 0.2, np.float32), np.zeros((50, 3), bool)
    known[:20, 1], known[[3, 30, 49], 2] = True, True
    close(covariances(j, weight, known), filter_loop(j, weight, known), 1e-5)
    # What follows a known state starts at the identity, whatever its Jacobian is.
    spoiled = np.where(known.reshape(50, 3, *[1] * (j.ndim - 2)), np.nan, j)
    spoiled = np.concatenate([j[:1], spoiled[:-1]])
    close(covariances(spoiled, weight, known)[:21, 1], filter_loop(j, weight, known)[:21, 1], 1e-5)


@pytest.mark.parametrize("algebra", [SmallFull(), Full()], ids=["small", "large"])
def test_stacks_of_matrices(algebra):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 7, 4, 4)).astype(np.float32)
    v = rng.standard_normal((3, 7, 4)).astype(np.float32)
    scale = rng.random((3, 7)).astype(np.float32)
    at_least_one = a @ np.swapaxes(a, -1, -2) + np.eye(4, dtype=np.float32)
    a, b, v, scale, at_least_one = map(jnp.asarray, (a, b, v, scale, at_least_one))
    close(algebra.product(a, b), a @ b, 1e-6)
    close(algebra.apply(a, v), np.einsum("tbij,tbj->tbi", a, v), 1e-6)
    close(algebra.transpose(a), np.swapaxes(a, -1, -2), 0)
    close(algebra.plus_identity(a), a + np.eye(4), 0)
    close(algebra.identity(scale, 4), scale[..., None, None] * np.eye(4), 0)
    lower = algebra.cholesky(at_least_one)
    close(lower, np.linalg.cholesky(at_least_one), 1e-6)
    close(algebra.solve(lower, b), np.linalg.solve(np.asarray(lower), b), 1e-5)


def test_pivots_that_rounding_made_negative_are_one():
    nearly = jnp.array([[1.0, 0.0], [0.0, -1e-3]])
    np.testing.assert_array_equal(SmallFull().cholesky(nearly), np.eye(2))
    np.testing.assert_array_equal(Diagonals().cholesky(jnp.array([1.0, -1e-3])), np.ones(2))


def test_the_arithmetic_follows_from_the_shape():
    kinds = [type(matrices(jnp.zeros(shape))) for shape in ((1, 1, 64), (1, 1, 2, 2), (1, 1, 64, 64))]
    assert kinds == [Diagonals, SmallFull, Full]


@pytest.mark.parametrize("size", [4, UNROLLED_UP_TO + 1])
@pytest.mark.parametrize("scan", ["affine", "diagonal", "covariance"])
def test_no_loop_copies_its_input(scan, size):
    """In the compiled text, with the optimizations that users get: a step copies rows, not all of them."""
    length, batch = 2100, 2
    a, b, initial = affine_system(length, batch, size, full=scan != "diagonal")
    lowered = covariances.lower(a, np.ones(batch, np.float32)) if scan == "covariance" else affine.lower(a, b, initial)
    text = lowered.compile(compiler_options={"xla_backend_optimization_level": 3}).as_text()
    bodies = list(while_bodies(text).values())
    assert len(bodies) >= 3, "the loops over rows were not found"
    whole = b.size if scan == "diagonal" else a.size
    for body in bodies:
        copied = [match for line in body for match in re.findall(r"= \w+\[([\d,]*)\]\S* (?:copy|transpose)\(", line)]
        assert all(np.prod([int(n) for n in shape.split(",") if n]) < min(whole, b.size) for shape in copied), copied


def test_any_associative_combination_can_be_scanned():
    """Compositions of permutations do not commute: their order counts."""
    rng = np.random.default_rng(0)
    elements = np.stack([rng.permutation(5) for _ in range(150)])[:, None]

    def follow(state, element):
        return jnp.take_along_axis(element, state, axis=-1)

    expected, state = [], np.arange(5)
    for element in elements[:, 0]:
        state = element[state]
        expected.append(state)
    scanned = jax.jit(lambda elements, initial: prefix_scan(elements, initial, follow, follow))
    np.testing.assert_array_equal(scanned(elements, np.arange(5)[None])[:, 0], np.stack(expected))


def test_lengths_at_every_level(monkeypatch):
    """Short chunks make many levels, each with a last chunk that is not full."""
    monkeypatch.setattr("solvers.linear.prefix_scan.SEQUENTIAL_UP_TO", 2)
    monkeypatch.setattr("solvers.linear.prefix_scan.LONGEST_CHUNK", 3)
    system = affine_system(250, 2, 2)
    close(jax.jit(lambda *s: affine_scan(*s))(*system), affine_loop(*system), 2e-6)
