"""A triangular system from any function x -> F(x), checked for being triangular."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ..equations import batch_size, by_equation, check_layout, isolated, prefix_mask, select
from ..trees.meshes import on_auto_axes, shapes
from ..trees.pytree import pytree

X = TypeVar("X")

_CHECKED_EQUATIONS = 64  # every equation up to here; of a longer system as many, evenly spread


class ClosureError(ValueError):
    """A function closes over a traced value that cannot be made one of its arguments."""


class NotTriangularError(ValueError):
    """An equation depends on itself or on a later one."""


@pytree
@dataclass(frozen=True)
class FunctionSystem(Generic[X]):
    """The equations x = f(x, *args)."""

    f: Callable[..., X] = field(metadata={"static": True})
    like: X
    args: tuple[Any, ...]

    @property
    def num_equations(self) -> int:
        """T, the length of the first guess's leading axis."""
        return int(jax.tree.leaves(self.like)[0].shape[0])

    def initial_guess(self) -> X:
        """The first guess as it was given."""
        return self.like

    def sweep(self, x: X) -> X:
        """All equations at once, by the function."""
        return self.f(x, *self.args)


def from_function(f: Callable[..., X], like: X, *args: Any, check: bool = True) -> FunctionSystem[X]:
    """Turn x -> f(x, *args) into a system that the solvers take.

    Args:
        f: gives F(x), laid out as ``like``. Arrays that it reads belong into ``args``: closed over they are compiled
            into the program as constants, or where they are traced make a new program of every call.
        like: the first guess; leaves (T,) or (T, batch, ...).
        args: passed on to ``f``.
        check: evaluate f on random guesses to see that no equation reads itself or a later one: all equations of a
            system of up to 64, 64 evenly spread ones of a longer one. Not done where arrays are traced.

    Raises:
        NotTriangularError: an equation reads itself or a later one.
        ClosureError: f closes over a traced value that cannot be made an argument.
        ValueError: F(x) is not laid out as x.
    """
    like = jax.tree.map(jnp.asarray, like)
    if not jax.tree.leaves(like) or any(leaf.ndim == 0 for leaf in jax.tree.leaves(like)):
        raise ValueError("like needs one or more arrays, each with a leading axis of equations")
    f, args = _hoisted(f, like, args)
    system = FunctionSystem(f, like, args)
    check_layout(like, system.num_equations)
    out = jax.eval_shape(f, *shapes((like, *args)))
    expected, found = jax.tree.map(_signature, like), jax.tree.map(_signature, out)
    if expected != found:
        raise ValueError(f"F(x) must be laid out as x: expected {expected}, found {found}")
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((like, args)))
    if check and not traced:
        on_auto_axes(_check_triangular, system)
    return system


def _hoisted(f: Callable[..., X], like: X, args: tuple[Any, ...]) -> tuple[Callable[..., X], tuple[Any, ...]]:
    """The function and its arguments, traced values that it closes over among them: else they would be constants.

    Raises ClosureError where JAX does not hoist such a value.
    """
    if not _closes_over_traced(f, like, args):
        return f, args
    converted, values = jax.closure_convert(f, like, *args)
    args = (*args, *values)
    if _closes_over_traced(converted, like, args):
        raise ClosureError(
            "f closes over a value that is traced by jit, grad or vmap, and that cannot be made an argument: pass it "
            "in args, from_function(f, like, value), with f(x, value)"
        )
    return converted, args


def _closes_over_traced(f: Callable[..., Any], like: Any, args: tuple[Any, ...]) -> bool:
    return any(isinstance(constant, jax.core.Tracer) for constant in jax.make_jaxpr(f)(*shapes((like, *args))).consts)


def _differ(a: Array, b: Array) -> Bool[Array, "T B"]:
    """A mask of where two sweeps differ; values that overflowed in either, through a masked zero too, do not count."""
    return jnp.any((a != b) & jnp.isfinite(a) & jnp.isfinite(b), axis=-1)


def _signature(leaf: Any) -> str:
    return f"{leaf.dtype}{tuple(leaf.shape)}"


def _check_triangular(system: FunctionSystem[Any]) -> None:
    num_equations = system.num_equations
    count = min(num_equations, _CHECKED_EQUATIONS)
    if not count:
        return
    tested = jnp.unique(jnp.linspace(0, num_equations - 1, count).round().astype(jnp.int32))
    for seed in range(2):
        first, second = (_perturbed(system.like, jax.random.key(2 * seed + i)) for i in range(2))
        reads_ahead = _reads_ahead(system, first, second, tested)
        if bool(jnp.any(reads_ahead)):
            worst = int(tested[jnp.argmax(reads_ahead)])
            raise NotTriangularError(
                f"equation {worst} changes with x_{worst} or a later value; "
                "in a triangular system x_t depends on x_0 .. x_(t-1) only"
            )


def _perturbed(like: Any, key: Array) -> Any:
    leaves, treedef = jax.tree.flatten(like)
    keys = jax.random.split(key, len(leaves))

    def perturb(leaf: Array, key: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            return jnp.add(leaf, jax.random.normal(key, leaf.shape, leaf.dtype))
        if leaf.dtype == jnp.bool_:
            return leaf ^ jax.random.bernoulli(key, shape=leaf.shape)
        return jnp.add(leaf, jax.random.randint(key, leaf.shape, 0, 2).astype(leaf.dtype))

    return jax.tree.unflatten(treedef, [perturb(leaf, k) for leaf, k in zip(leaves, keys, strict=True)])


@jax.jit
def _reads_ahead(system: FunctionSystem[Any], first: Any, second: Any, tested: Int[Array, " N"]) -> Bool[Array, " N"]:
    """Whether F(x)_0..t changes when x_t and all behind it do, for each tested t."""
    num_equations, batch = system.num_equations, batch_size(first)
    base = isolated(system.sweep, first, first)

    def changes(t: Int[Array, ""]) -> Bool[Array, ""]:
        before = prefix_mask(jnp.full(batch, t), num_equations)
        mixed = select(before, first, second)
        moved = isolated(system.sweep, mixed, mixed)
        different = by_equation(_differ, jnp.logical_or, num_equations, base, moved)
        return jnp.any(different & prefix_mask(jnp.full(batch, t + 1), num_equations))

    return jax.lax.map(changes, tested)
