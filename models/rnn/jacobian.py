"""The Jacobians of recurrent cells, kept as the few coefficients a row that they are made of."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.layers.products import matmul
from solvers.trees.pytree import pytree


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
            # Not a product with the identity, where one infinite entry would spoil its row.
            carry = jnp.where(jnp.eye(width, dtype=bool), direct[..., None], 0.0)
            blocks.append(self._joined(carry, read))
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


def _total(terms: Iterable[Array]) -> Array:
    return reduce(operator.add, terms)
