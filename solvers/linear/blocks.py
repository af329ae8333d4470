"""Block-diagonal matrices (..., K, N, N): which features are in which block, and other forms of matrices.

Block k of D = N K features is that of the features k, K + k, 2 K + k, ...: feature j K + k is entry j of block k. So in
a state of N leaves of K features each, block k is that of unit k.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def as_blocks(found: Array) -> Float[Array, "S B K N N"]:
    """Diagonals or full matrices as blocks, of one feature or of all; blocks as they are."""
    if found.ndim == 3:
        return found[..., None, None]
    return found[:, :, None] if found.ndim == 4 else found


def as_matrices(found: Array) -> Float[Array, "S B D D"]:
    """Diagonals or blocks as full matrices, with zeros elsewhere."""
    blocks = as_blocks(found)
    lead, num_blocks, size = blocks.shape[:2], blocks.shape[2], blocks.shape[-1]
    spread = jnp.einsum("sbkij,kl->sbikjl", blocks, jnp.eye(num_blocks, dtype=blocks.dtype))
    return spread.reshape(*lead, size * num_blocks, size * num_blocks)


def in_lanes(rows: Float[Array, "*S D"], num_blocks: int) -> Float[Array, "*S K N"]:
    """Features by blocks: block k has the features k, K + k, 2 K + k, ..."""
    return jnp.swapaxes(rows.reshape(*rows.shape[:-1], -1, num_blocks), -1, -2)


def in_rows(lanes: Float[Array, "*S K N"]) -> Float[Array, "*S D"]:
    """The inverse of ``in_lanes``."""
    return jnp.swapaxes(lanes, -1, -2).reshape(*lanes.shape[:-2], -1)


def products(found: Array, rows: Float[Array, "S B D"]) -> Float[Array, "S B D"]:
    """The products of diagonals, blocks or full matrices with vectors."""
    blocks = as_blocks(found)
    return in_rows(jnp.einsum("sbkij,sbkj->sbki", blocks, in_lanes(rows, blocks.shape[2])))


def inside_blocks(matrices: Float[Array, "S B D D"], block_size: int) -> Float[Array, "S B K N N"]:
    """The blocks of full matrices."""
    lead, num_blocks = matrices.shape[:2], matrices.shape[-1] // block_size
    split = matrices.reshape(*lead, block_size, num_blocks, block_size, num_blocks)
    blocks: Float[Array, "S B K N N"] = jnp.moveaxis(jnp.diagonal(split, axis1=3, axis2=5), -1, 2)
    return blocks
