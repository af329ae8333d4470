"""Prefix scans with few steps that must follow one another, on which parallel solvers of order one rest.

T elements are cut into C chunks of L. Then

1. every chunk is folded into one element, L - 1 steps for all chunks at once,
2. a scan over the C - 1 first of these, in the same way, gives the state before each chunk,
3. from which all chunks run their recurrence at once, L steps.

With L fixed the chain of steps grows with log T, and the work is about that of one fold and one recurrence: half of
what a scan over a tree of pairs combines. L is chosen from T alone.

On a CPU with few cores a ``lax.scan`` over the recurrence is faster still, for it does no fold: D^2 operations a step
and not D^3. These scans are for machines that do much at once, and to show what solvers would gain there.

On an accelerator every step of a chunk would start kernels of its own, so there the scan is a tree of pairs (Blelloch,
"Prefix sums and their applications", 1990): pairs are combined until one is left, and on the way back the state before
each pair gives that inside it. Some 2 log2 T steps, a combination and an act an element, and memory for all levels'
elements, as many again as there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..trees.platform import on_cpu
from .blocks import in_lanes, in_rows
from .matrices import Full, Matrices, matrices

SEQUENTIAL_UP_TO = 40  # elements: a step for each costs less than another level of chunks
LONGEST_CHUNK = 16  # elements: longer chunks lengthen the chain, shorter ones fold more often


def chunk_length(num_elements: int) -> int:
    """L: about sqrt(T / 2), which makes two levels' chain shortest, but no more than LONGEST_CHUNK.

    The next shorter divisor of T is taken where there is one not far away: chunks that are all full spare a copy.
    """
    if num_elements <= SEQUENTIAL_UP_TO:
        return num_elements
    longest = min(LONGEST_CHUNK, math.isqrt(num_elements // 2))
    divisors = (length for length in range(longest, longest // 2, -1) if num_elements % length == 0)
    return next(divisors, longest)


def chain_length(num_elements: int) -> int:
    """The number of steps of a scan over T elements that follow one another."""
    if not on_cpu():
        return 2 * (num_elements - 1).bit_length() + 1 if num_elements else 0
    length = chunk_length(num_elements)
    if length == num_elements:
        return num_elements
    return length - 1 + chain_length(-(-num_elements // length) - 1) + length


def prefix_scan(
    elements: Any,
    initial: Any,
    combine: Callable[[Any, Any], Any],
    act: Callable[[Any, Any], Any],
    lift: Callable[[Any], Any] = lambda element: element,
) -> Any:
    """All states s_t = act(s_{t-1}, e_t), s_{-1} = initial: leaves (T, B, ...), for elements (T, B, ...).

    ``combine(first, second)`` is the element that acts as ``first`` and then ``second``; it is associative. Both
    functions are also called with many chunks at once, (C, B, ...), and treat all axes before an element's own
    alike. ``lift`` makes elements out of rows of ``elements``, where these are kept in a smaller form.
    """
    num_elements = jax.tree.leaves(elements)[0].shape[0]
    if not on_cpu() and num_elements:
        return _by_tree(lift(elements), initial, combine, act)
    length = chunk_length(num_elements)
    if length == num_elements:
        return lax.scan(lambda state, row: (act(state, lift(row)),) * 2, initial, elements)[1]
    firsts = jnp.arange(0, num_elements, length)

    def at(i: int | Int[Array, ""]) -> Any:
        """Element i of every chunk. The last chunk repeats its last element, whose effect nothing reads."""
        return lift(jax.tree.map(lambda leaf: jnp.take(leaf, firsts + i, axis=0, mode="clip"), elements))

    def step(i: Int[Array, ""], carry: tuple[Any, Any]) -> tuple[Any, Any]:
        state = act(carry[0], at(i))
        return state, jax.tree.map(lambda to, new: lax.dynamic_update_index_in_dim(to, new, i, 1), carry[1], state)

    totals = lax.fori_loop(1, length, lambda i, total: combine(total, at(i)), at(0))
    ends = prefix_scan(jax.tree.map(lambda leaf: leaf[:-1], totals), initial, combine, act)
    starts = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), initial, ends)
    blank = jax.tree.map(lambda leaf: jnp.zeros((len(firsts), length, *leaf.shape), leaf.dtype), initial)
    states = lax.fori_loop(0, length, step, (starts, blank))[1]
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:num_elements], states)


def _by_tree(elements: Any, initial: Any, combine: Callable[[Any, Any], Any], act: Callable[[Any, Any], Any]) -> Any:
    """``prefix_scan`` by a tree of pairs, of elements that need no lift."""
    num_elements = jax.tree.leaves(elements)[0].shape[0]
    if num_elements == 1:
        return act(jax.tree.map(lambda leaf: leaf[None], initial), elements)
    firsts = jax.tree.map(lambda leaf: leaf[::2], elements)
    # A last element without another is repeated, whose effect nothing reads.
    odd = num_elements % 2
    seconds = jax.tree.map(lambda leaf: jnp.concatenate([leaf[1::2], leaf[num_elements - odd :]]), elements)
    ends = _by_tree(combine(firsts, seconds), initial, combine, act)
    starts = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), initial, ends)
    return jax.tree.map(
        lambda inside, end: jnp.stack([inside, end], axis=1).reshape(-1, *end.shape[1:])[:num_elements],
        act(starts, firsts),
        ends,
    )


def affine_scan(
    a: Float[Array, "T B D D"] | Float[Array, "T B D"] | Float[Array, "T B K N N"],
    b: Float[Array, "T B D"],
    initial: Float[Array, "B D"],
) -> Float[Array, "T B D"]:
    """All y_t = A_t y_{t-1} + b_t, with y_{-1} = ``initial``. A is full, or diagonal and then without its last axis.

    Or A is block-diagonal: K blocks of N features, D = N K, feature j K + k being entry j of block k. Blocks do not
    read one another, so they are samples of their own to the scan.

    Samples are independent, and y_t reads nothing past t, so values that are not finite spread neither way. They can
    arise though where the recurrence has none: products of A overflow sooner than the states that they act on.
    """
    if b.size == 0:
        return b
    if a.ndim == 5:
        return _scan_of_blocks(a, b, initial)
    shape = b.shape
    if a.size == b.size:  # numbers, which nothing mixes: one long row of them makes the fastest loops
        row = (shape[0], 1, shape[1] * shape[2])
        a, b, initial = a.reshape(row), b.reshape(row), initial.reshape(row[1:])
    algebra = matrices(a)
    if isinstance(algebra, Full) and not on_cpu():
        return _homogeneous(algebra, a, b, initial)

    def combine(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return algebra.product(second[0], first[0]), act(first[1], second)

    def act(y: Array, element: tuple[Array, Array]) -> Array:
        return algebra.apply(element[0], y) + element[1]

    states: Array = prefix_scan((a, b), initial, combine, act)
    return states.reshape(shape)


def _homogeneous(
    algebra: Matrices, a: Float[Array, "T B D D"], b: Float[Array, "T B D"], initial: Float[Array, "B D"]
) -> Float[Array, "T B D"]:
    """``affine_scan`` by matrices [[A, b], [0, 1]], of which one product of a library combines two."""
    features = b.shape[-1]
    above = jnp.concatenate([a, b[..., None]], axis=-1)
    elements = jnp.pad(above, ((0, 0), (0, 0), (0, 1), (0, 0))).at[..., features, features].set(1)

    def act(y: Array, element: Array) -> Array:
        rows = element[..., :features, :]
        return jnp.sum(rows[..., :features] * y[..., None, :], axis=-1) + rows[..., features]

    states: Array = _by_tree(elements, initial, lambda first, second: algebra.product(second, first), act)
    return states


def _scan_of_blocks(
    a: Float[Array, "T B K N N"], b: Float[Array, "T B D"], initial: Float[Array, "B D"]
) -> Float[Array, "T B D"]:
    num_equations, batch, num_blocks, size = a.shape[:4]
    lanes = affine_scan(
        a.reshape(num_equations, batch * num_blocks, size, size),
        in_lanes(b, num_blocks).reshape(num_equations, batch * num_blocks, size),
        in_lanes(initial, num_blocks).reshape(batch * num_blocks, size),
    )
    return in_rows(lanes.reshape(num_equations, batch, num_blocks, size))


def covariance_scan(
    j: Float[Array, "T B D D"] | Float[Array, "T B D"],
    weight: Float[Array, " B"],
    known: Bool[Array, "T B"] | None = None,
) -> Float[Array, "T B D D"] | Float[Array, "T B D"]:
    """The predicted covariances P^-_t of ELK's Kalman filter; diagonal, without the last axis, where j is.

    P^-_t = J_t P_{t-1} J_t^T + I and, as all of the state is observed with covariance I / w,
    P_t = P^-_t (I + w P^-_t)^-1; w = 0 is no observation. P_{-1} = 0, and P_t = 0 where equation t is ``known``. So
    the filter's damping, I minus its gain, is (I + w P^-_t)^-1. (Gonzalez et al., "Towards scalable and stable
    parallelization of nonlinear RNNs", NeurIPS 2024.)
    """
    if j.size == 0:
        return j
    steps = _FilterSteps(matrices(j), j.shape[-1])
    certain = jnp.zeros(j.shape[:2], bool) if known is None else known
    before = jnp.concatenate([jnp.ones_like(certain[:1]), certain[:-1]])
    weights = jnp.broadcast_to(weight.astype(j.dtype), before.shape)
    initial = steps.algebra.identity(jnp.ones_like(weights[0]), steps.features)  # any, as equation 0 does not read it
    predicted: Array = prefix_scan((j, weights, before), initial, steps.combine, steps.act, steps.lift)
    return predicted


class _Filter(NamedTuple):
    """Steps of a filter, as far as covariances go: P -> A (I + P Info)^-1 P A^T + C, with C >= I."""

    transition: Array
    covariance: Array
    information: Array


@dataclass(frozen=True)
class _FilterSteps:
    """Elements that are the update by observation t - 1 and then the prediction of state t.

    They combine as in Sarkka and Garcia-Fernandez, "Temporal parallelization of Bayesian smoothers" (2021), without
    the means, and with (I + C Info)^-1 = L W^-1 L^-1, where C = L L^T, W = I + L^T Info L: as C and W are no less than
    the identity, factorizing them is safe.
    """

    algebra: Matrices
    features: int

    def lift(self, row: tuple[Array, Array, Array]) -> _Filter:
        """The element of a Jacobian, a weight, and whether the state before is certain.

        If it is, the Jacobian has no say, be it finite or not.
        """
        j, weight, certain = row
        one = self.algebra.identity(jnp.ones_like(weight), self.features)
        transition = jnp.where(certain.reshape(certain.shape + (1,) * (j.ndim - certain.ndim)), 0, j)
        return _Filter(transition, one, self.algebra.identity(weight, self.features))

    def combine(self, first: _Filter, second: _Filter) -> _Filter:
        """The steps of ``first`` and then ``second``: A = y x, C = y y^T + C_2, y = A_2 L V^-T, x = V^-1 L^-1 A_1."""
        product, transpose, solve = self.algebra.product, self.algebra.transpose, self.algebra.solve
        lower, seen, factor = self._factors(first.covariance, second.information)
        y = transpose(solve(factor, transpose(product(second.transition, lower))))
        x = solve(factor, solve(lower, first.transition))
        z = product(solve(factor, seen), first.transition)
        return _Filter(
            product(y, x),
            product(y, transpose(y)) + second.covariance,
            product(transpose(z), x) + first.information,
        )

    def act(self, predicted: Array, element: _Filter) -> Array:
        """The predicted covariance that follows one, by an element."""
        product, transpose = self.algebra.product, self.algebra.transpose
        lower, _, factor = self._factors(predicted, element.information)
        y = self.algebra.solve(factor, transpose(product(element.transition, lower)))
        return product(transpose(y), y) + element.covariance

    def _factors(self, covariance: Array, information: Array) -> tuple[Array, Array, Array]:
        """The factors L and L^T Info of W = I + L^T Info L, and V, where V V^T = W."""
        lower = self.algebra.cholesky(covariance)
        seen = self.algebra.product(self.algebra.transpose(lower), information)
        return lower, seen, self.algebra.cholesky(self.algebra.plus_identity(self.algebra.product(seen, lower)))
