"""Segments in order: the solver's contract on systems whose segments differ in shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvers import (
    SOLVERS,
    CachedSequential,
    GSJacobi,
    Jacobi,
    Newton,
    PairingError,
    Segmented,
    SegmentedSystem,
    Sequential,
    Status,
    TraceOptions,
    solve,
)
from solvers.trees.pytree import pytree
from tests.kit.bank import Chain, chain, contractive_link, counting_link, linear_link
from tests.kit.untyped import untyped

LENGTHS = (3, 5, 2)
TOTAL = sum(LENGTHS)
BATCH = 2


@pytree
@dataclass(frozen=True)
class Segments:
    """A chain cut into segments, of which segment k has k + 1 equal features."""

    chains: tuple[Chain, ...]

    @property
    def num_equations(self):
        return sum(c.num_equations for c in self.chains)

    @property
    def num_segments(self):
        return len(self.chains)

    def initial_guess(self):
        return tuple(_spread(c.initial_guess(), k + 1) for k, c in enumerate(self.chains))

    def first_inputs(self):
        return self.chains[0].initial_state

    def next_inputs(self, index, inputs, values):
        return values[-1, :, 0]

    def segment(self, index, inputs):
        return Segment(self.chains[index], inputs, jnp.ones(index + 1))

    def sweep(self, x):
        before = [self.first_inputs(), *(self.next_inputs(i, None, values) for i, values in enumerate(x[:-1]))]
        return tuple(self.segment(i, b).sweep(values) for i, (b, values) in enumerate(zip(before, x, strict=True)))


@pytree
@dataclass(frozen=True)
class Segment:
    """x_t = link(x_{t-1}, b_t), whatever there is before the first."""

    chain: Chain
    before: jax.Array
    features: jax.Array

    @property
    def num_equations(self):
        return self.chain.num_equations

    @property
    def block_unit(self):
        return 1

    def initial_guess(self):
        return _spread(self.chain.initial_guess(), self.features.size)

    def init_cache(self):
        return self.before

    def sweep(self, x):
        return self.update(x, self.before, 0, self.num_equations)[0]

    def update(self, x, cache, start, size):
        values, cache = self.chain.update(x[..., 0], cache, start, size)
        return _spread(values, self.features.size), cache

    def prefix_caches(self, x, block_size):
        raise NotImplementedError


def _spread(x, features):
    return jnp.repeat(x[..., None], features, axis=-1)


def segments(link, seed, guess=0.0):
    whole = chain(link, TOTAL, BATCH, seed, guess)
    ends = np.cumsum(LENGTHS)[:-1]
    parts = zip(jnp.split(whole.inputs, ends), jnp.split(whole.guess, ends), strict=True)
    return Segments(tuple(Chain(link, inputs, first) for inputs, first in parts)), whole


def flat(x):
    return np.concatenate([leaf[..., 0] for leaf in x])


INNER = {
    "jacobi": Jacobi(),
    "sequential": Sequential(),
    "cached_sequential": CachedSequential(chunk_size=2),
    "gs_jacobi": GSJacobi(block_size=2),
}
everywhere = pytest.mark.parametrize("name", INNER)


@pytest.mark.parametrize(
    ("name", "link"),
    [(name, counting_link) for name in INNER] + [("jacobi", contractive_link), ("gs_jacobi", linear_link)],
)
def test_same_answer_within_the_bound_and_no_promise_too_many(name, link):
    system, whole = segments(link, 3, guess=-1.0)
    assert isinstance(system, SegmentedSystem)
    reference = solve(whole, Sequential()).value
    cut = tuple(np.split(reference, np.cumsum(LENGTHS)[:-1]))
    cut = tuple(_spread(jnp.asarray(part), k + 1) for k, part in enumerate(cut))
    solver = Segmented(INNER[name])
    solution = solve(system, solver, trace=TraceOptions(cut))
    assert solution.outcome is Status.CONVERGED
    assert int(solution.stats.num_iterations) <= solver.max_steps(system)
    np.testing.assert_allclose(flat(solution.value), reference, rtol=0, atol=1e-5)
    frontier = np.asarray(solution.trace.frontier)[: int(solution.stats.num_iterations)]
    assert np.all(np.diff(frontier, axis=0) >= 0)
    assert np.all(frontier[-1] == TOTAL)
    for steps in range(1, len(frontier), 3):
        part = solve(system, solver, max_steps=steps, throw=False)
        for sample, known in enumerate(np.asarray(part.stats.frontier)):
            np.testing.assert_allclose(flat(part.value)[:known, sample], reference[:known, sample], atol=1e-5)


def test_steps_are_counted_by_segment():
    system, _ = segments(counting_link, 0, guess=-1.0)
    stats = solve(system, Segmented(Jacobi())).stats
    assert int(stats.num_steps) == TOTAL + len(LENGTHS)  # the worst case, and a check for each segment
    expected = sum((n + 1) * n for n in LENGTHS) / TOTAL
    assert float(stats.sweep_equivalents) == pytest.approx(expected)
    assert float(solve(system, Segmented(CachedSequential())).stats.sweep_equivalents) == pytest.approx(1.0)


def test_forward_substitution_takes_a_segment_in_a_step():
    system, _ = segments(counting_link, 0, guess=-1.0)
    solver = Segmented(CachedSequential())
    solution = solve(system, solver)
    assert int(solution.stats.num_iterations) == len(LENGTHS)
    assert [inner for inner, _ in solution.state.solver_state.inner] == [None] * len(LENGTHS), "a cache was kept"
    assert solver.resolved(system) == solver
    by_twos = solve(system, Segmented(CachedSequential(chunk_size=2)))
    assert int(by_twos.stats.num_iterations) == sum(-(-n // 2) for n in LENGTHS)
    np.testing.assert_array_equal(flat(by_twos.value), flat(solution.value))


@everywhere
def test_nan_is_never_success_and_holds_up_no_one(name):
    system, _ = segments(linear_link, 4)
    healthy = solve(system, Segmented(INNER[name])).value
    for where in range(len(LENGTHS)):
        hurt = system.chains[where]
        hurt = replace(hurt, inputs=hurt.inputs.at[1, 0].set(jnp.nan))
        spoiled = Segments((*system.chains[:where], hurt, *system.chains[where + 1 :]))
        solution = solve(spoiled, Segmented(INNER[name]), throw=False)
        np.testing.assert_array_equal(solution.sample_status, [Status.NONFINITE, Status.CONVERGED])
        np.testing.assert_allclose(flat(solution.value)[:, 1], flat(healthy)[:, 1], atol=1e-5)


def test_resumed_equals_uninterrupted():
    system, _ = segments(contractive_link, 5)
    solver = Segmented(GSJacobi(block_size=2))
    whole = solve(system, solver)
    first = solve(system, solver, max_steps=3, throw=False)
    rest = solve(system, solver, state=first.state)
    for a, b in zip(
        jax.tree.leaves((whole.value, whole.stats)), jax.tree.leaves((rest.value, rest.stats)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_tolerance_is_the_segments_too():
    system, _ = segments(contractive_link, 6)
    exact, loose = solve(system, Segmented()), solve(system, Segmented(), tol=0.1)
    assert loose.outcome is Status.CONVERGED
    assert int(loose.stats.num_steps) < int(exact.stats.num_steps)
    np.testing.assert_allclose(flat(loose.value), flat(exact.value), atol=0.2)


def test_under_jit_and_vmap():
    systems = [segments(contractive_link, seed)[0] for seed in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *systems)
    together = jax.jit(jax.vmap(partial(solve, solver=Segmented())))(stacked)
    for i, system in enumerate(systems):
        alone = solve(system, Segmented())
        for a, b in zip(together.value, alone.value, strict=True):
            np.testing.assert_allclose(a[i], b, atol=1e-6)


def test_wrong_pairings_are_refused():
    system, whole = segments(linear_link, 0)
    with (
        pytest.raises(ValueError, match="solver must be an instance of a solver, for example .*, not 'jacobi'"),
        untyped(),
    ):
        Segmented("jacobi")
    with pytest.raises(ValueError, match="Segmented cannot stand inside Segmented, which takes any other solver"):
        Segmented(Segmented())
    with pytest.raises(PairingError, match="newton needs a MarkovSystem; Segment is a BlockSystem; use sequential"):
        solve(system, Segmented(Newton()))
    with pytest.raises(
        PairingError, match="segmented needs a SegmentedSystem; Chain is a MarkovSystem and a BlockSystem"
    ):
        solve(whole, SOLVERS["segmented"]())
    with pytest.raises(
        PairingError, match="gs_jacobi needs a BlockSystem; Segments is a SegmentedSystem; use .*segmented"
    ):
        solve(system, GSJacobi())
