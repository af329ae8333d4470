"""Derivatives of order-one systems: transitions by rows, Jacobians, their blocks, diagonals, exact or estimated."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Inexact, Int

from ..system import LinearizedMarkovSystem, VectorizedMarkovSystem
from ..trees.blocks import Start
from .blocks import inside_blocks


def ravel(x: Any) -> Float[Array, "S B D"]:
    """The floating-point leaves of a state as one array of D features, in the order of the leaves.

    A complex leaf gives the real parts of its features and then the imaginary ones. Class ids and other integers have
    no derivative and are left out.
    """
    leaves = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    rows = [_parts(leaf.reshape(leaf.shape[0], _batch(leaf), math.prod(leaf.shape[2:]))) for leaf in leaves]
    if not rows:
        raise ValueError("the state has no floating-point values, so the system has no derivatives; use jacobi")
    return rows[0] if len(rows) == 1 else jnp.concatenate(rows, axis=-1)


def unravel(flat: Float[Array, "S B D"], like: Any) -> Any:
    """The inverse of ``ravel``: ``like`` with its floating-point leaves taken from ``flat``."""
    leaves, treedef = jax.tree.flatten(like)
    offset, filled = 0, []
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            width = num_features(leaf)
            filled.append(_joined(flat[..., offset : offset + width], leaf))
            offset += width
        else:
            filled.append(leaf)
    return jax.tree.unflatten(treedef, filled)


def num_features(leaf: Any) -> int:
    """The number of features that ``ravel`` makes of one equation and sample of a leaf (T, B, ...)."""
    return math.prod(leaf.shape[2:]) * (2 if _is_complex(leaf) else 1)


def _is_complex(a: Any) -> bool:
    return bool(jnp.issubdtype(a.dtype, jnp.complexfloating))


def _parts(a: Inexact[Array, "*N D"]) -> Float[Array, "*N E"]:
    """The real and then the imaginary parts of complex features, real ones as they are."""
    return jnp.concatenate([a.real, a.imag], axis=-1) if _is_complex(a) else a


def _joined(flat: Float[Array, "S B E"], like: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """The inverse of ``_parts``, laid out as ``like``."""
    if _is_complex(like):
        real, imaginary = jnp.split(flat, 2, axis=-1)
        flat = real + 1j * imaginary
    return flat.reshape(like.shape).astype(like.dtype)


def in_reals(
    a: Inexact[Array, "S B D D"], b: Inexact[Array, "S B D"], like: Any
) -> tuple[Float[Array, "S B E E"], Float[Array, "S B E"]]:
    """Matrices and vectors of the features of ``like`` as ``ravel`` has them, where they may be complex."""
    if not any(map(_is_complex, (a, b, *jax.tree.leaves(like)))):
        return a, b
    a = jnp.asarray(a, jnp.result_type(a, b))
    both = jnp.block([[a.real, -a.imag], [a.imag, a.real]])
    order = _real_order(like)
    parts = jnp.concatenate([b.real, b.imag], axis=-1)
    return both[..., order, :][..., order], parts[..., order]


def _real_order(like: Any) -> Int[np.ndarray, " E"]:
    """Where ``ravel`` finds its features among the real and then the imaginary parts of all features of ``like``."""
    leaves = [leaf for leaf in jax.tree.leaves(like) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    widths = [math.prod(leaf.shape[2:]) for leaf in leaves]
    order, offset = [], 0
    for leaf, width in zip(leaves, widths, strict=True):
        own = np.arange(offset, offset + width)
        order += [own, sum(widths) + own] if _is_complex(leaf) else [own]
        offset += width
    return np.concatenate(order)


def conjugation(like: Any) -> Float[Array, " D"]:
    """The signs that make of the features of ``ravel`` those of the conjugate: -1 at imaginary parts, else 1."""
    row = jax.tree.map(lambda leaf: jnp.ones_like(leaf[:1]) * (1 + 1j if _is_complex(leaf) else 1), like)
    return ravel(jax.tree.map(lambda leaf: leaf.conj(), row))[0, 0]


def transitions(system: Any, previous: Any, start: Start) -> Any:
    """Equations start, start + 1, ... of any MarkovSystem, each from its row of ``previous``, leaves (S, B, ...)."""
    if isinstance(system, VectorizedMarkovSystem):
        return system.transitions(previous, start)
    size = jax.tree.leaves(previous)[0].shape[0]
    return jax.vmap(system.transition)(previous, start + jnp.arange(size))


def jacobians(system: Any, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D D"]]:
    """The transitions and their Jacobians, [.., i, j] = d f_i / d x_j, by D forward derivatives unless it has them."""
    if isinstance(system, LinearizedMarkovSystem):
        values, matrices = system.jacobians(previous, start)
        return values, in_reals(matrices, jnp.zeros(matrices.shape[:-1], matrices.dtype), previous)[0]
    flat = ravel(previous)

    def column(direction: Float[Array, " D"]) -> Float[Array, "S B D"]:
        return push(system, previous, start, jnp.broadcast_to(direction, flat.shape))

    columns = jax.vmap(column, out_axes=-1)(jnp.eye(flat.shape[-1], dtype=flat.dtype))
    return transitions(system, previous, start), columns


def diagonals(system: Any, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D"]]:
    """The transitions and the diagonals of their Jacobians, by D forward derivatives in turn unless it has them."""
    if isinstance(system, LinearizedMarkovSystem):
        values, entries = system.jacobian_diagonals(previous, start)
        if not any(map(_is_complex, jax.tree.leaves(previous))):
            return values, entries
        return values, jnp.concatenate([entries.real] * 2, axis=-1)[..., _real_order(previous)]
    flat = ravel(previous)

    def entry(i: Int[Array, ""]) -> Float[Array, "S B"]:
        direction = jnp.broadcast_to((jnp.arange(flat.shape[-1]) == i).astype(flat.dtype), flat.shape)
        return jnp.take(push(system, previous, start, direction), i, axis=-1)

    entries = lax.map(entry, jnp.arange(flat.shape[-1]))
    return transitions(system, previous, start), jnp.moveaxis(entries, 0, -1)


def jacobian_blocks(system: Any, previous: Any, start: Start, block_size: int) -> tuple[Any, Float[Array, "S B K N N"]]:
    """The transitions, and of their Jacobians the entries inside blocks of N = ``block_size`` features.

    Block k is that of the features k, K + k, 2 K + k, ..., K = D / N: in a state of N leaves of K features, of those at
    place k. D forward derivatives in turn, unless the system has derivatives of its own.
    """
    if isinstance(system, LinearizedMarkovSystem):
        values, found = jacobians(system, previous, start)
        return values, inside_blocks(found, block_size)
    flat = ravel(previous)
    features = flat.shape[-1]
    num_blocks = features // block_size

    def column(i: Int[Array, ""]) -> Float[Array, "S B N"]:
        direction = jnp.broadcast_to((jnp.arange(features) == i).astype(flat.dtype), flat.shape)
        rows = push(system, previous, start, direction)
        return jnp.take(rows.reshape(*rows.shape[:2], block_size, num_blocks), i % num_blocks, axis=-1)

    columns = lax.map(column, jnp.arange(features))  # (D, S, B, N), of which the first axis is (N, K)
    columns = columns.reshape(block_size, num_blocks, *columns.shape[1:])
    return transitions(system, previous, start), jnp.transpose(columns, (2, 3, 1, 4, 0))


def structured(system: Any, previous: Any, start: Start) -> tuple[Any, Array]:
    """The transitions, and what the system itself has for their Jacobians, for the features of ``ravel``.

    That need not be the Jacobians, and stands for them in the steps of solvers only, not in derivatives of solutions.
    Diagonals (S, B, D), blocks (S, B, K, N, N) or full matrices (S, B, D, D). Raises ValueError where they are complex
    and not the diagonals of one complex leaf, of which real and imaginary parts make blocks of two.
    """
    values, found = system.structured_jacobians(previous, start)
    if not jnp.issubdtype(found.dtype, jnp.complexfloating):
        return values, found
    if found.ndim != 3 or len(jax.tree.leaves(previous)) != 1:
        raise ValueError("complex structured Jacobians have to be the diagonals of a state of one complex leaf")
    rows = [jnp.stack([found.real, -found.imag], axis=-1), jnp.stack([found.imag, found.real], axis=-1)]
    return values, jnp.stack(rows, axis=-2)


def estimated_diagonals(
    system: Any, previous: Any, start: Start, probes: int, draw: Int[Array, ""]
) -> tuple[Any, Float[Array, "S B D"]]:
    """The transitions, and the diagonals of their Jacobians estimated from ``probes`` random directions v.

    The estimate is the mean of v * (J v), v of +1 and -1, so that entries off the diagonal cancel on average (Bekas,
    Kokiopoulou and Saad, 2007). The directions are those of draw number ``draw``, the same for all samples.
    """
    flat = ravel(previous)
    shape = (flat.shape[0], 1, flat.shape[2])
    key = jax.random.fold_in(jax.random.key(0), draw)

    def add(i: Int[Array, ""], total: Float[Array, "S B D"]) -> Float[Array, "S B D"]:
        direction = jax.random.rademacher(jax.random.fold_in(key, i), shape, flat.dtype)
        return total + direction * push(system, previous, start, jnp.broadcast_to(direction, flat.shape))

    total = lax.fori_loop(0, probes, add, jnp.zeros_like(flat))
    return transitions(system, previous, start), total / probes


def push(system: Any, previous: Any, start: Start, direction: Float[Array, "S B D"]) -> Float[Array, "S B D"]:
    """The derivative of every transition along ``direction``: J_t v_t."""
    tangent: Float[Array, "S B D"] = jax.jvp(
        lambda flat: ravel(transitions(system, unravel(flat, previous), start)), (ravel(previous),), (direction,)
    )[1]
    return tangent


def jacobian_sweeps(system: Any) -> int:
    """The cost of Jacobians beside the transitions, in sweeps: 1 where the system has them, else D derivatives."""
    return 1 if isinstance(system, LinearizedMarkovSystem) else state_features(system)


def state_features(system: Any) -> int:
    """D, the number of features that ``ravel`` makes of the state of one equation."""
    leaves = [leaf for leaf in jax.tree.leaves(system.initial_state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum(math.prod(leaf.shape[1:]) * (2 if _is_complex(leaf) else 1) for leaf in leaves)


def _batch(leaf: Array) -> int:
    return int(leaf.shape[1]) if leaf.ndim > 1 else 1
