"""Arithmetic on states, equation by equation: compare and select. See system.py for the layout of a state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from .trees.platform import on_cpu

X = TypeVar("X")


class Difference(NamedTuple):
    """How far two states differ, for each sample."""

    residual: Float[Array, " B"]  # max |y_t - x_t| over equations and features; NaN where a difference is NaN
    matching: Int[Array, " B"]  # the number of leading equations in which y and x are equal, bit for bit
    relative: Float[Array, "T B"]  # |y_t - x_t| / max(1, |x_0|, ..., |x_t|); infinite where integers differ


def batch_size(x: PyTree[Any]) -> int:
    """The number of samples in a state, or in the shapes of one."""
    leaf = jax.tree.leaves(x)[0]
    return int(leaf.shape[1]) if leaf.ndim > 1 else 1


def is_segmented(x: PyTree[Any], num_equations: int) -> bool:
    """Whether the leaves are consecutive segments of the equations rather than components of all of them.

    ``x`` is a state, or the shapes of one.
    """
    return any(leaf.shape[0] != num_equations for leaf in jax.tree.leaves(x))


def check_layout(x: PyTree[Array], num_equations: int) -> None:
    """Raise ValueError unless the leaves of ``x`` are laid out as system.py says."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(x)]
    if not shapes or any(not shape for shape in shapes):
        raise ValueError("a state needs at least one leaf, and every leaf an axis of equations")
    lengths = [shape[0] for shape in shapes]
    if any(length != num_equations for length in lengths) and sum(lengths) != num_equations:
        raise ValueError(
            f"the leaves' leading axes {lengths} neither all equal the number of equations, {num_equations}, "
            "nor add up to it"
        )
    batches = {shape[1] if len(shape) > 1 else 1 for shape in shapes}
    if len(batches) > 1:
        raise ValueError(f"the leaves disagree on the batch size: {sorted(batches)}")


def _flat_features(leaf: Shaped[Array, "..."]) -> Shaped[Array, "T B F"]:
    batch = leaf.shape[1] if leaf.ndim > 1 else 1
    return leaf.reshape(leaf.shape[0], batch, math.prod(leaf.shape[2:]))


def by_equation(
    reduce_leaf: Callable[..., Shaped[Array, "T B"]],
    join: Callable[[Array, Array], Array],
    num_equations: int,
    *states: PyTree[Array],
) -> Shaped[Array, "T B"]:
    """Reduce each leaf (of all ``states`` in step) to one number per equation and sample, and join the leaves."""
    rows = [
        reduce_leaf(*map(_flat_features, leaves))
        for leaves in zip(*(jax.tree.leaves(state) for state in states), strict=True)
    ]
    if is_segmented(states[0], num_equations):
        return jnp.concatenate(rows)
    total = rows[0]
    for row in rows[1:]:
        total = join(total, row)
    return total


def _distance(y: Shaped[Array, "T B F"], x: Shaped[Array, "T B F"]) -> Float[Array, "T B"]:
    gap = jnp.abs(y - x) if jnp.issubdtype(y.dtype, jnp.inexact) else _gap(y, x)
    return jnp.max(gap, axis=-1, initial=0)


def _gap(y: Shaped[Array, "..."], x: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """|y - x| of integers or booleans: 0 only where they are equal, however wide they are.

    As floats large integers would be rounded to each other, and as signed ones their difference could overflow.
    """
    if y.dtype == jnp.bool_:
        return (y != x).astype(jnp.result_type(float))
    unsigned = jnp.dtype(f"uint{8 * y.dtype.itemsize}")
    low, high = (lax.bitcast_convert_type(f(y, x), unsigned) for f in (jnp.minimum, jnp.maximum))
    return (high - low).astype(jnp.result_type(float))


def isolated(function: Callable[..., X], fallback: X, *operands: Any) -> X:
    """function(*operands), kept apart from what the caller does with it; ``fallback`` is laid out as its result.

    Solvers promise the same bits for passes of the same shape. Fused into different neighbours a pass would round
    differently, and a neighbour that reads it twice would compute it twice. So it stands between barriers. The CPU's
    compiler drops these before it fuses, but does not fuse across the branch of a conditional: there it stands behind
    one that always holds, which a barrier hides. On an accelerator a conditional may wait for the host.

    The form is that of JAX's default device. On a CPU beside it, for arrays that were put there one by one, the
    barriers are dropped and the same bits are not promised.
    """
    if on_cpu():
        always = lax.optimization_barrier(True)
        result: X = lax.cond(always, lambda given, _: function(*given), lambda _, other: other, operands, fallback)
        return result
    return cast(X, lax.optimization_barrier(function(*lax.optimization_barrier(operands))))


def compare(y: PyTree[Array], x: PyTree[Array], num_equations: int) -> Difference:
    """Residual and matching prefix of two states of ``num_equations`` equations, for each sample."""
    different = by_equation(lambda a, b: jnp.any(a != b, axis=-1), jnp.logical_or, num_equations, y, x)
    distance = by_equation(_distance, jnp.maximum, num_equations, y, x)
    # Of numbers near the least there is the difference may be flushed to zero, and they differ all the same. Any other
    # stays as it is: in half precision, which is not flushed, neighbours are nearer than the least normal number, 6e-5.
    least = jnp.finfo(distance.dtype).tiny
    distance = jnp.where(different & (distance == 0), least, distance)
    residual, first = _largest_and_first(distance, different, num_equations)
    return Difference(residual, first, _relative(distance, y, x, num_equations))


def _largest_and_first(
    distance: Float[Array, "T B"], different: Bool[Array, "T B"], num_equations: int
) -> tuple[Float[Array, " B"], Int[Array, " B"]]:
    """The largest distance and the first equation that differs, in one reduction.

    Devices that share the equations wait for it once. Counted from the end, equations are floats that are exact.
    """
    kind = jnp.float64 if distance.dtype == jnp.float64 else jnp.float32
    index = jnp.arange(num_equations, dtype=jnp.int32)[:, None]
    if num_equations >= 2 ** jnp.finfo(kind).nmant:
        first = jnp.min(jnp.where(different, index, num_equations), axis=0, initial=num_equations)
        return jnp.max(distance, axis=0, initial=0.0), first
    left = jnp.where(different, num_equations - index, 0)
    largest, longest = jnp.max(jnp.stack([distance.astype(kind), left.astype(kind)]), axis=1, initial=0.0)
    return largest.astype(distance.dtype), num_equations - longest.astype(jnp.int32)


def _relative(distance: Float[Array, "T B"], y: Any, x: Any, num_equations: int) -> Float[Array, "T B"]:
    """The distances, each in units of the largest value up to its equation, or of one.

    Not of all values: a guess that has grown out of bounds far on would let anything before it pass. With what is up to
    an equation for a yardstick, the first that is wrong is seen, as all before it is right. Integers have to be equal.
    """
    sizes = by_equation(_size, jnp.maximum, num_equations, x)
    scale = jnp.maximum(1.0, lax.cummax(sizes, axis=0)).astype(distance.dtype)
    # A yardstick that is not finite is none: beside it anything would be small.
    units = jnp.where(distance > 0, jnp.where(jnp.isfinite(scale), distance / scale, jnp.inf), distance)
    counted = by_equation(_differs_in_integers, jnp.logical_or, num_equations, y, x)
    return jnp.where(counted, jnp.inf, units)


def _size(x: Shaped[Array, "T B F"]) -> Float[Array, "T B"]:
    """The largest absolute value of each equation; integers have none, as with them nothing is rounded."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros(x.shape[:2], jnp.result_type(float))
    return jnp.max(jnp.abs(x), axis=-1, initial=0).astype(jnp.result_type(float))


def _differs_in_integers(y: Shaped[Array, "T B F"], x: Shaped[Array, "T B F"]) -> Bool[Array, "T B"]:
    if jnp.issubdtype(y.dtype, jnp.inexact):
        return jnp.zeros(y.shape[:2], bool)
    return jnp.any(y != x, axis=-1)


def finite_equations(x: PyTree[Array], num_equations: int) -> Bool[Array, "T B"]:
    """Which equations hold finite values only."""
    return by_equation(lambda a: jnp.all(jnp.isfinite(a), axis=-1), jnp.logical_and, num_equations, x)


def magnitude(x: PyTree[Array]) -> Float[Array, " B"]:
    """The largest absolute value in each sample, integers aside: with them nothing is rounded."""
    floats = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    largest = [jnp.max(jnp.abs(_flat_features(leaf)), axis=(0, 2), initial=0) for leaf in floats]
    none = jnp.zeros(batch_size(x), jnp.result_type(float))
    return jnp.max(jnp.stack([none, *(size.astype(none.dtype) for size in largest)]), axis=0)


def tolerated(tol: float, x: PyTree[Array]) -> Float[Array, " B"]:
    """The largest residual of each sample that counts as converged: tol * max(1, |x|).

    Integers have to be equal: where a state holds any, the bound stays below one, the least by which they can differ.
    A yardstick that is not finite is none: beside it anything would be small.
    """
    bound = tol * jnp.maximum(1.0, magnitude(x))
    bound = jnp.where(jnp.isfinite(bound), bound, 0.0)
    only_floats = all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(x))
    return bound if only_floats else jnp.minimum(bound, 0.5)


def select(mask: Bool[Array, "T B"], on_true: X, on_false: X) -> X:
    """Equation by equation and sample by sample: ``on_true`` where the mask holds, else ``on_false``."""
    num_equations = mask.shape[0]
    leaves, treedef = jax.tree.flatten(on_true)
    segmented = is_segmented(on_true, num_equations)
    offset, chosen = 0, []
    for a, b in zip(leaves, jax.tree.leaves(on_false), strict=True):
        rows = mask[offset : offset + a.shape[0]] if segmented else mask
        rows = rows[:, 0] if a.ndim == 1 else rows.reshape(rows.shape + (1,) * (a.ndim - 2))
        chosen.append(jnp.where(rows, a, b))
        offset += a.shape[0]
    result: X = jax.tree.unflatten(treedef, chosen)
    return result


def prefix_mask(length: Int[Array, " B"], num_equations: int) -> Bool[Array, "T B"]:
    """A mask that holds for the first ``length`` equations of each sample."""
    return jnp.arange(num_equations, dtype=jnp.int32)[:, None] < length


def next_frontier(frontier: Int[Array, " B"], matching: Int[Array, " B"], num_equations: int) -> Int[Array, " B"]:
    """The length of the exact prefix of F(x): one more than x and F(x) agree on, and one more than before."""
    return jnp.minimum(jnp.maximum(frontier, matching) + 1, num_equations).astype(jnp.int32)
