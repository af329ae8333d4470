"""check_system accepts what is right and tells where what is wrong goes wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from solvers import BrokenSystemError, GSJacobi, Jacobi, PairingError, check_system, from_function, solve
from solvers.trees.pytree import pytree
from tests.kit.bank import Chain, chain, linear_link, pytree_chain, tiny_made
from tests.kit.untyped import untyped


@pytest.mark.parametrize("system", [chain(linear_link, 10, 2, 0), pytree_chain(11, 2, 0), tiny_made(10, 2, 0)])
def test_sound_systems_pass(system):
    check_system(system)


def broken(**methods):
    kind = type("Broken", (Chain,), {"__annotations__": {}, **methods})
    sound = chain(linear_link, 10, 2, 0)
    return pytree(dataclasses.dataclass(frozen=True)(kind))(sound.link, sound.inputs, sound.guess)


def forgets(self, x, cache, start, size):
    values, _ = Chain.update(self, x, cache, start, size)
    return values, jnp.zeros_like(cache)


def reads_guess(self, x, cache, start, size):
    values, cache = Chain.update(self, x, cache, start, size)
    return (x + values, cache) if size == 1 else (values, cache)


def slices(self, x, cache, start, size):
    values = self.link(
        jnp.concatenate([cache[None], x[: size - 1]]), jax.lax.dynamic_slice_in_dim(self.inputs, start, size)
    )
    return values, values[-1]


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"update": forgets}, "updates one by one of equations 0 to 2 differ"),
        ({"update": reads_guess}, "update of equation 0 alone differs"),
        ({"update": slices}, "update of equations 9 to 9 at the solution differs"),
        ({"prefix_caches": lambda self, x, size: Chain.prefix_caches(self, 0 * x, size) * 0}, "prefix_caches"),
        ({"sweep": lambda self, x: Chain.sweep(self, x) + x[::-1]}, "sweep: equation 0 or one before it changes"),
    ],
)
def test_broken_systems_are_told_where(methods, sentence):
    with pytest.raises(BrokenSystemError, match=sentence):
        check_system(broken(**methods))


def test_nan_and_overflow_are_no_reason_to_call_a_system_not_triangular():
    weights = jnp.ones(50).at[20].set(jnp.nan)
    from_function(lambda x, w: jnp.tanh(jnp.pad(x, (1, 0))[:-1] * w) + 1.0, jnp.zeros(50), weights)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda s: solve(s, Jacobi), "Jacobi is a class; an instance is needed"),
        (lambda s: solve(s, Jacobi(), tol=-1.0), "tol must be at least 0, not -1.0"),
        (lambda s: solve(s, Jacobi(), x0=jnp.zeros((10, 3))), "x0 must be laid out as"),
        (lambda s: solve(s, GSJacobi(), state=solve(s, Jacobi()).state), "the state is of another solver"),
        (lambda s: solve(s, Jacobi(), state=solve(s, Jacobi()).state, x0=s.guess), "x0 and trace cannot be given"),
        (lambda s: from_function(lambda x: x, {}), "like needs one or more arrays"),
    ],
)
def test_misuse_gets_a_sentence(make, sentence):
    with pytest.raises((ValueError, PairingError), match=sentence), untyped():
        make(chain(linear_link, 10, 2, 0))


def test_what_is_found_lacking_and_done_is_said():
    said = []
    report = check_system(chain(linear_link, 10, 2, 0), say=said.append)
    assert said[0].startswith("Chain satisfies TriangularSystem, BlockSystem, SlidingBlockSystem, ForwardSubstitution")
    assert "MarkovSystem" in report.satisfied
    assert report.lacking["AffineMarkovSystem"] == ("affine",)
    assert "; to be a LinearizedMarkovSystem it lacks jacobian_diagonals, jacobians; " in said[0]
    assert said[0].endswith("; to be an AffineMarkovSystem it lacks affine")
    assert "trying whether each of 10 equations reads only those before it ..." in said
    assert said[-1] == "all of it holds"


def test_members_of_the_next_protocol_are_named():
    said = []
    report = check_system(from_function(lambda x: jnp.pad(x, (1, 0))[:-1] + 1, jnp.zeros(5)), say=said.append)
    assert report.satisfied == ("TriangularSystem",)
    assert report.lacking["BlockSystem"] == ("block_unit", "init_cache", "prefix_caches", "update")
    assert report.lacking["MarkovSystem"] == ("initial_state", "transition")
    assert "to be a BlockSystem it lacks block_unit, init_cache, prefix_caches, update; to be a MarkovSystem" in said[0]


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"sweep": lambda self, x: Chain.sweep(self, x) > 0}, "sweep: F.x. must be laid out as float32"),
        ({"update": lambda self, x, cache, start, size: (x, x)}, "update: the new cache must be laid out as float32"),
    ],
)
def test_layouts_that_change_are_told(methods, sentence):
    with pytest.raises(BrokenSystemError, match=sentence):
        check_system(broken(**methods))


def test_a_wide_integer_that_changes_with_a_later_one_is_seen():
    first = jnp.full((6, 2), 2**30, jnp.int32)

    def f(x, first):
        return first + x[::-1]

    with pytest.raises(BrokenSystemError, match="sweep: equation"):
        check_system(from_function(f, first, first, check=False))


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_values_that_are_not_finite_are_equal_to_themselves(value):
    """A sweep of random states may leave the domain of a function that the solution does not leave."""

    def halves(x):
        before = jnp.pad(x, ((1, 0), (0, 0)))[:-1]
        return jnp.where(before < 0, value, 1.0 + before / 2)

    system = from_function(halves, jnp.zeros((10, 2)))
    assert not jnp.isfinite(system.sweep(-1.0 - system.like)).all()
    check_system(system)
