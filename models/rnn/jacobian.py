"""The Jacobians of recurrent cells, kept as the few coefficients a row that they are made of."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.layers.products import matmul
from solvers.trees.pytree import pytree


@runtime_checkable
class StateJacobian(Protocol):
    """Derivatives of the next state with respect to the last one: a D x D matrix J for each of the rows S."""

    def matrix(self) -> Float[Array, "*S _ _"]:
        """The matrices J, [.., i, j] = d new_i / d old_j."""

    def diagonal(self) -> Float[Array, "*S _"]:
        """The diagonal of J."""

    def pull(self, w: Float[Array, "*S _"]) -> Float[Array, "*S _"]:
        """The products J^T w: the gradient with respect to the old state from that with respect to the new one."""

    def map_rows(self, change: Callable[[Array], Array]) -> StateJacobian:
        """The Jacobians of other rows: ``change`` takes an array with the axes of rows first and gives such a one."""


@pytree
@dataclass(frozen=True)
class CellJacobian:
    """Derivatives of the next state with respect to the last one, a D x D matrix J for each of the rows S.

    A state has P parts of H features, D = P * H: h alone, or (c, h). The gates read the last part through the kernel
    W = (W_1 .. W_G), each H x H; the first part is also carried on unit by unit. So with parts p, q

        J[p, q] = [q is the first] diag(direct_p) + [q is the last] sum_g diag(gates_pg) W_g^T,

    which costs O(D) floats a row to keep, O(D) to take the diagonal of and O(D^2) to write out.
    """

    kernel: Float[Array, "H _"]  # W_g side by side: h @ W_g is what gate g reads
    direct: tuple[Float[Array, "*S H"], ...]  # by part
    gates: tuple[tuple[Float[Array, "*S H"], ...], ...]  # by part and gate

    def matrix(self) -> Float[Array, "*S _ _"]:
        """The matrices J, [.., i, j] = d new_i / d old_j."""
        width, num_gates = self.kernel.shape[0], len(self.gates[0])
        kernels = self.kernel.reshape(width, num_gates, width).transpose(1, 2, 0)
        blocks = []
        for direct, gates in zip(self.direct, self.gates, strict=True):
            read = _total(gate[..., None] * kernel for gate, kernel in zip(gates, kernels, strict=True))
            blocks.append(self._joined(_on_diagonal(direct), read))
        return jnp.concatenate(blocks, axis=-2)

    def diagonal(self) -> Float[Array, "*S _"]:
        """The diagonal of J."""
        width, num_gates = self.kernel.shape[0], len(self.gates[0])
        kernels = jnp.diagonal(self.kernel.reshape(width, num_gates, width), axis1=0, axis2=2)
        read = _total(gate * kernel for gate, kernel in zip(self.gates[-1], kernels, strict=True))
        return self._joined(self.direct[0], read)

    def pull(self, w: Float[Array, "*S _"]) -> Float[Array, "*S _"]:
        """The products J^T w: the gradient with respect to the old state from that with respect to the new one."""
        parts = jnp.split(w, len(self.direct), axis=-1)
        carry = _total(direct * part for direct, part in zip(self.direct, parts, strict=True))
        by_gate = zip(*self.gates, strict=True)
        through = [_total(gate * part for gate, part in zip(gates, parts, strict=True)) for gates in by_gate]
        return self._joined(carry, matmul(jnp.concatenate(through, axis=-1), self.kernel.T))

    def map_rows(self, change: Callable[[Array], Array]) -> CellJacobian:
        """The Jacobians of other rows: ``change`` takes an array with the axes of rows first and gives such a one."""
        direct, gates = jax.tree.map(change, (self.direct, self.gates))
        return CellJacobian(self.kernel, direct, gates)

    def _joined(self, first: Array, last: Array) -> Array:
        """The first and the last part side by side, along the last axis; their sum where there is but one part."""
        return first + last if len(self.direct) == 1 else jnp.concatenate([first, last], axis=-1)


@pytree
@dataclass(frozen=True)
class UnitJacobian:
    """Derivatives of a state whose units do not read one another: J[p, q] = diag(entries_pq), with parts p and q.

    With P parts of H units that is P x P numbers for each unit, which cost O(D) to keep, to multiply and to scan.
    """

    entries: tuple[tuple[Float[Array, "*S H"], ...], ...]  # by the part of the new state and that of the old one

    def matrix(self) -> Float[Array, "*S _ _"]:
        """The matrices J, [.., i, j] = d new_i / d old_j."""
        rows = [jnp.concatenate([_on_diagonal(entry) for entry in row], axis=-1) for row in self.entries]
        return jnp.concatenate(rows, axis=-2)

    def diagonal(self) -> Float[Array, "*S _"]:
        """The diagonal of J."""
        return jnp.concatenate([row[p] for p, row in enumerate(self.entries)], axis=-1)

    def structured(self) -> Float[Array, "*S H"] | Float[Array, "*S H P P"]:
        """The diagonals of J where a state has one part, else its blocks, one for each unit."""
        if len(self.entries) == 1:
            return self.entries[0][0]
        return jnp.stack([jnp.stack(row, axis=-1) for row in self.entries], axis=-2)

    def pull(self, w: Float[Array, "*S _"]) -> Float[Array, "*S _"]:
        """The products J^T w: the gradient with respect to the old state from that with respect to the new one."""
        parts = jnp.split(w, len(self.entries), axis=-1)
        columns = zip(*self.entries, strict=True)
        pulled = [_total(entry * part for entry, part in zip(column, parts, strict=True)) for column in columns]
        return jnp.concatenate(pulled, axis=-1)

    def transposed(self) -> UnitJacobian:
        """The Jacobians J^T."""
        return UnitJacobian(tuple(zip(*self.entries, strict=True)))

    def map_rows(self, change: Callable[[Array], Array]) -> UnitJacobian:
        """The Jacobians of other rows: ``change`` takes an array with the axes of rows first and gives such a one."""
        return UnitJacobian(jax.tree.map(change, self.entries))


def _on_diagonal(entries: Float[Array, "*S H"]) -> Float[Array, "*S H H"]:
    """Matrices with these entries; not by a product with the identity, where one infinite entry would spoil its row."""
    return jnp.where(jnp.eye(entries.shape[-1], dtype=bool), entries[..., None], 0.0)


def _total(terms: Iterable[Array]) -> Array:
    return reduce(operator.add, terms)
