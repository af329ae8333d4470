"""A check that a system keeps its contract, to be run first on a system of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .equations import batch_size, prefix_mask, select
from .methods.jacobi import Jacobi
from .methods.sequential import substitute_by_updates, substitute_forward
from .pairing import with_article
from .solve import solve
from .system import (
    AffineMarkovSystem,
    BlockSystem,
    ForwardSubstitution,
    LinearizedMarkovSystem,
    MarkovSystem,
    SegmentedSystem,
    SlidingBlockSystem,
    TriangularSystem,
)
from .trees.precision import full_products


class BrokenSystemError(ValueError):
    """A system breaks the contract in system.py; the message says where."""


# From the least to the most that a system can offer; the last two are ways of their own.
_PROTOCOLS: tuple[type, ...] = (
    TriangularSystem,
    BlockSystem,
    SlidingBlockSystem,
    ForwardSubstitution,
    MarkovSystem,
    LinearizedMarkovSystem,
    AffineMarkovSystem,
    SegmentedSystem,
)


@dataclass(frozen=True)
class SystemReport:
    """Which protocols a system satisfies, and what it lacks for the others, by their names."""

    satisfied: tuple[str, ...]
    lacking: dict[str, tuple[str, ...]]

    def __str__(self) -> str:
        """The protocols that there are, and what is lacking for the next ones."""
        lines = [f"satisfies {', '.join(self.satisfied)}"]
        lines += [f"to be {with_article(name)} it lacks {', '.join(self.lacking[name])}" for name in self._next[:2]]
        return "; ".join(lines)

    @property
    def _next(self) -> list[str]:
        """The protocols that lack nothing which another one lacks alone."""
        found = {name: set(members) for name, members in self.lacking.items()}
        return [name for name, members in found.items() if not any(other < members for other in found.values())]


@full_products
def check_system(
    system: Any, block_size: int = 3, tol: float = 1e-4, seed: int = 0, say: Callable[[str], None] = print
) -> SystemReport:
    """Try a small system (tens of equations) against the contract of its protocols, at random states and its solution.

    That equations read only those before them, and samples only themselves; and of a BlockSystem that blocks in order
    give the sweep, short last block included, that a block of one does not read its guess, that
    ``forward_substitution`` and ``prefix_caches`` agree with ``update``.

    Args:
        system: to try.
        block_size: of the blocks tried, in block units.
        tol: values may differ by ``tol`` * max(1, |x|).
        seed: of the random states.
        say: is told what is found and what is being done, a line each.

    Returns:
        Which protocols the system satisfies, and which members it lacks for the others.

    Raises:
        BrokenSystemError: one of these does not hold.
        SolveError: the system's solution is not finite.
    """
    report = describe_system(system)
    say(f"{type(system).__name__} {report}")
    _check_layouts(system, block_size * system.block_unit if isinstance(system, BlockSystem) else None)
    first, second = (_random_like(system.initial_guess(), seed + i) for i in range(2))
    say(f"trying whether each of {system.num_equations} equations reads only those before it ...")
    _check_causality(system, first, second)
    _check_independence(system, first, second)
    solution = solve(system, Jacobi()).value
    if isinstance(system, BlockSystem):
        say("trying blocks and caches against the sweep ...")
        _check_blocks(system, solution, block_size * system.block_unit, tol)
    say("all of it holds")
    return report


def describe_system(system: Any) -> SystemReport:
    """Which protocols a system satisfies, and which members it lacks for the others."""
    satisfied = tuple(protocol.__name__ for protocol in _PROTOCOLS if isinstance(system, protocol))
    lacking = {
        protocol.__name__: tuple(name for name in _members(protocol) if not hasattr(system, name))
        for protocol in _PROTOCOLS
        if protocol.__name__ not in satisfied
    }
    return SystemReport(satisfied, lacking)


def _members(protocol: type) -> list[str]:
    """The names that a protocol asks for."""
    classes = [kind for kind in protocol.__mro__ if getattr(kind, "_is_protocol", False)]
    names = [name for kind in classes for name in (*vars(kind), *vars(kind).get("__annotations__", {}))]
    return sorted({name for name in names if not name.startswith("_")})


def _check_layouts(system: Any, size: int | None) -> None:
    """What ``sweep`` and ``update`` give is laid out as what they are given."""
    x = system.initial_guess()
    _expect_layout("sweep: F(x)", jax.eval_shape(system.sweep, x), x)
    if size is not None:
        block, cache = jax.tree.map(lambda a: jnp.resize(a, (size, *a.shape[1:])), x), system.init_cache()
        values, following = jax.eval_shape(lambda x, cache: system.update(x, cache, jnp.int32(0), size), block, cache)
        _expect_layout("update: a block's values", values, block)
        _expect_layout("update: the new cache", following, cache)


def _expect_layout(name: str, found: Any, expected: Any) -> None:
    found, expected = (jax.tree.map(lambda a: f"{a.dtype}{tuple(a.shape)}", tree) for tree in (found, expected))
    if found != expected:
        raise BrokenSystemError(f"{name} must be laid out as {expected}, not {found}")


def _check_causality(system: Any, first: Any, second: Any) -> None:
    num_equations, batch = system.num_equations, batch_size(first)
    sweep = jax.jit(lambda system, x: system.sweep(x))
    base = sweep(system, first)
    for t in range(num_equations):
        before = prefix_mask(jnp.full(batch, t), num_equations)
        moved = sweep(system, select(before, first, second))
        upto = prefix_mask(jnp.full(batch, t + 1), num_equations)
        if not _equal(select(upto, moved, base), base, 0.0):
            raise BrokenSystemError(f"sweep: equation {t} or one before it changes with x_{t} or a later value")


def _check_independence(system: Any, first: Any, second: Any) -> None:
    """A sample is the same whatever the others of its batch are."""
    num_equations, batch = system.num_equations, batch_size(first)
    sweep = jax.jit(lambda system, x: system.sweep(x))
    base = sweep(system, first)
    numbers = jnp.arange(batch)
    # Of two samples one has a bit in its number that the other has not: so each is moved while the other is not.
    halves = [((numbers >> bit) & 1) == value for bit in range((batch - 1).bit_length()) for value in (0, 1)]
    for half in halves:
        own = jnp.broadcast_to(half, (num_equations, batch))
        moved = sweep(system, select(own, second, first))
        if not _equal(select(own, base, moved), base, 0.0):
            changing = ", ".join(map(str, numbers[half][:4].tolist())) + (", ..." if half.sum() > 4 else "")
            raise BrokenSystemError(
                f"sweep: other samples change with those of number {changing}; samples must not read each other"
            )


def _check_blocks(system: Any, solution: Any, size: int, tol: float) -> None:
    num_equations = system.num_equations
    caches = _prefix_caches(system, solution, size)
    swept = fast = slow = system.init_cache()
    for i, begin in enumerate(range(0, num_equations, size)):
        start, count = jnp.int32(begin), min(size, num_equations - begin)
        where = f"of equations {begin} to {begin + count - 1}"
        expected = _rows(solution, begin, count)
        at_start = jax.tree.map(lambda a: a[i], caches)  # noqa: B023
        guess = jax.tree.map(lambda a: jnp.resize(a, (size, *a.shape[1:])), expected)
        values, swept = _update(system, guess, swept, start, size)
        _expect(_rows(values, 0, count), expected, tol, f"update {where} at the solution differs from the sweep")
        one, _ = _update(system, _random_like(_rows(guess, 0, 1), 7), fast, start, 1)
        message = f"update of equation {begin} alone differs from the sweep; does it read its guess?"
        _expect(one, _rows(solution, begin, 1), tol, message)
        values, slow = _one_by_one(system, slow, start, size)
        _expect(_rows(values, 0, count), expected, tol, f"updates one by one {where} differ from the sweep")
        values, fast = _forward(system, fast, start, size)
        _expect(_rows(values, 0, count), expected, tol, f"forward substitution {where} differs from the sweep")
        values, _ = _forward(system, at_start, start, size)
        _expect(_rows(values, 0, count), expected, tol, f"prefix_caches: the block {where} goes wrong from its cache")


# Compiled once for all blocks: what a system does in loops and branches would be compiled again by every call.
@partial(jax.jit, static_argnums=2)
def _prefix_caches(system: Any, x: Any, size: int) -> Any:
    return system.prefix_caches(x, size)


@partial(jax.jit, static_argnums=4)
def _update(system: Any, x: Any, cache: Any, start: Array, size: int) -> tuple[Any, Any]:
    result: tuple[Any, Any] = system.update(x, cache, start, size)
    return result


_one_by_one = partial(jax.jit, static_argnums=3)(substitute_by_updates)
_forward = partial(jax.jit, static_argnums=3)(substitute_forward)


def _rows(x: Any, start: int, count: int) -> Any:
    return jax.tree.map(lambda a: a[start : start + count], x)


def _expect(found: Any, expected: Any, tol: float, message: str) -> None:
    if not _equal(found, expected, tol):
        raise BrokenSystemError(message)


def _equal(x: Any, y: Any, tol: float) -> bool:
    def close(a: Array, b: Array) -> bool:
        if not jnp.issubdtype(b.dtype, jnp.inexact):  # between class ids there is no nearly
            return np.array_equal(a, b)
        wide = np.complex128 if jnp.issubdtype(b.dtype, jnp.complexfloating) else np.float64
        found, expected = np.asarray(a, wide), np.asarray(b, wide)
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        with np.errstate(invalid="ignore"):
            near = np.abs(found - expected) <= tol * np.maximum(1.0, np.abs(expected))
        return bool(np.all(same | (near & np.isfinite(expected))))  # beside infinity anything would be near

    return all(close(a, b) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))


def _random_like(x: Any, seed: int) -> Any:
    leaves, treedef = jax.tree.flatten(x)
    keys = jax.random.split(jax.random.key(seed), len(leaves))

    def draw(leaf: Array, key: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            return jax.random.normal(key, leaf.shape, leaf.dtype)
        return jax.random.randint(key, leaf.shape, 0, 2).astype(leaf.dtype)

    return jax.tree.unflatten(treedef, [draw(leaf, key) for leaf, key in zip(leaves, keys, strict=True)])
