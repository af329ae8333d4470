"""Products of permutations, one after the other: the word problem of a group."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from solvers.systems.recurrence import Recurrence
from solvers.trees.blocks import Start, take_block
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class Permutations(Recurrence):
    """x_t = P_t x_{t-1}, where P_t permutes the features: (x_t)_i = (x_{t-1})_{order[t, i]}.

    Linear, and nothing is ever forgotten: its Lyapunov exponents are all 0. Products in the group S_5 are as hard as
    any that a circuit of logarithmic depth can do (Barrington, 1989), and Newton's method takes one linearization for
    them, as the example of arXiv 2509.21716 has it. Satisfies AffineMarkovSystem and all that Recurrence does.
    """

    order: Int[Array, "T B D"]
    first: Float[Array, "B D"]  # the state before equation 0

    @property
    def initial_state(self) -> Float[Array, "B D"]:
        """The state before equation 0."""
        return self.first

    @property
    def num_equations(self) -> int:
        """The number of permutations, T."""
        return int(self.order.shape[0])

    def transitions(self, previous: Float[Array, "S B D"], start: Start) -> Float[Array, "S B D"]:
        """Permutations start, start + 1, ..., each of its row of ``previous``; see Recurrence."""
        return jnp.take_along_axis(previous, take_block(self.order, start, previous.shape[0]), axis=-1)

    def affine(self) -> tuple[Float[Array, "T B D D"], Float[Array, "T B D"]]:
        """The permutation matrices, and no offsets; see AffineMarkovSystem."""
        matrices = jax.nn.one_hot(self.order, self.first.shape[-1], dtype=self.first.dtype)
        return matrices, jnp.zeros_like(self.order, self.first.dtype)
