"""Recurrent cells ready for solving: what all of them can do, and what some of them can do besides.

What the input contributes to a step, the drive x_t U + b, depends on no state, so ``project`` computes it for all t at
once. All methods take any number of leading axes (rows, batch); weights lie as (inputs, outputs), gates side by side.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.layers.products import matmul
from models.rnn.jacobian import StateJacobian, UnitJacobian


@dataclass(frozen=True)
class RecurrentCell(ABC):
    """h_t = cell(h_{t-1}, x_t) with I inputs, H hidden units and G gates.

    A state is h (.., H), or a dict of such parts in alphabetical order, h last; its D features are theirs in this
    order.

    Raises:
        ValueError: no inputs, no hidden units, or weights of shapes that do not go together.
    """

    num_gates: ClassVar[int]
    output_parts: ClassVar[int] = 1  # how many parts of H features ``output`` gives

    input_kernel: Float[Array, "I F"]  # F = G * H

    def __post_init__(self) -> None:
        expected = self._shapes()
        if min(self.num_inputs, self.hidden_size) < 1:
            raise ValueError(f"a cell needs inputs and hidden units, not {self.num_inputs} and {self.hidden_size}")
        found = tuple(getattr(self, name).shape for name in expected)
        wanted = tuple(expected.values())
        if found != wanted:
            raise ValueError(
                f"{type(self).__name__} with {self.num_inputs} inputs and {self.hidden_size} hidden units needs "
                f"weights {', '.join(map(str, wanted[:-1]))} and {wanted[-1]}, not {found}"
            )

    @abstractmethod
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights by the names of their fields, for so many inputs and hidden units."""

    @property
    def num_inputs(self) -> int:
        """I, the number of inputs."""
        return int(self.input_kernel.shape[0])

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """H, the number of hidden units."""

    @classmethod
    def weights(cls) -> tuple[str, ...]:
        """The names of the fields that are weights, and not settings."""
        return tuple(field.name for field in dataclasses.fields(cls) if not field.metadata.get("static"))

    def project(self, inputs: Float[Array, "*S I"]) -> Float[Array, "*S _"]:
        """The drive: what the inputs contribute to the gates."""
        return matmul(inputs, self.input_kernel)

    def initial_state(self, batch: int) -> Any:
        """Zeros, (batch, H) in each part."""
        return jnp.zeros((batch, self.hidden_size), self.input_kernel.dtype)

    def step(self, state: Any, drive: Float[Array, "*S _"]) -> Any:
        """The state after one step from ``state``."""
        return self.linearize(state, drive)[0]

    @abstractmethod
    def linearize(self, state: Any, drive: Float[Array, "*S _"]) -> tuple[Any, StateJacobian]:
        """The next state and its derivatives with respect to the last one."""

    def output(self, state: Any) -> Float[Array, "*S _"]:
        """The part h of a state, which a layer above reads."""
        return state

    def ravel(self, state: Any) -> Float[Array, "*S _"]:
        """A state's features side by side."""
        return jnp.concatenate(jax.tree.leaves(state), axis=-1)

    def unravel(self, features: Float[Array, "*S _"]) -> Any:
        """The inverse of ``ravel``."""
        return features


@dataclass(frozen=True)
class UnitwiseCell(RecurrentCell):
    """A cell whose unit k reads of the last state its own parts alone, so that J has P x P numbers a unit."""

    @abstractmethod
    def linearize(self, state: Any, drive: Float[Array, "*S _"]) -> tuple[Any, UnitJacobian]:
        """The next state and its derivatives with respect to the last one."""


@dataclass(frozen=True)
class AffineCell(UnitwiseCell):
    """A cell whose next state is A_t h_{t-1} + b_t, where A_t and b_t depend on the drive alone."""
