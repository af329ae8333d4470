"""Chains as equations of order one: with its noise bound beforehand, each state follows from the one before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from models.mcmc.kernels import Kernel
from solvers.systems.recurrence import Recurrence
from solvers.trees.blocks import Start, take_block
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class Chain(Recurrence):
    """x_t from x_{t-1} by K kernel steps: x -> x' where log u < log ratio(x, x'), else x -> x, x' proposed by noise z.

    Every K-th state is a sample, and an equation; a sample of the batch is a chain. Satisfies StructuredMarkovSystem
    and all that Recurrence does (Zoltowski et al., "Parallelizing MCMC across the sequence length", arXiv 2508.18413).
    """

    target: Any  # a Target, in whose coordinates states are
    kernel: Kernel = field(metadata={"static": True})
    normals: Float[Array, "T B K D"]  # z
    log_uniforms: Float[Array, "T B K"]  # log u
    first: Float[Array, "B D"]

    @property
    def initial_state(self) -> Float[Array, "B D"]:
        """The state before equation 0."""
        return self.first

    @property
    def num_equations(self) -> int:
        """The number of samples of a chain, T."""
        return int(self.normals.shape[0])

    def transitions(self, previous: Float[Array, "S B D"], start: Start) -> Float[Array, "S B D"]:
        """The states that follow each of ``previous``; see Recurrence."""
        return self._follow(previous, start)[0]

    def accepted(self, previous: Float[Array, "S B D"], start: Start = 0) -> Bool[Array, "S B K"]:
        """Whether the proposals on the way from each of ``previous`` are taken."""
        return self._follow(previous, start)[1]

    def structured_jacobians(
        self, previous: Float[Array, "S B D"], start: Start
    ) -> tuple[Float[Array, "S B D"], Float[Array, "S B D"]]:
        """The states, and diagonals: as if the target were standard normal; see StructuredMarkovSystem.

        Where a proposal is not taken the derivative is 1. How the decision itself hangs on the state has no derivative,
        and is left out, as in the paper.
        """
        new, accepted = self._follow(previous, start)
        slopes = jnp.prod(jnp.where(accepted, self.kernel.normal_slope, 1.0), axis=-1, keepdims=True)
        return new, jnp.broadcast_to(slopes, new.shape).astype(new.dtype)

    def _follow(
        self, previous: Float[Array, "S B D"], start: Start
    ) -> tuple[Float[Array, "S B D"], Bool[Array, "S B K"]]:
        noise = take_block((self.normals, self.log_uniforms), start, previous.shape[0])

        def body(x: Float[Array, "S B D"], drawn: tuple[Array, ...]) -> tuple[Array, Array]:
            z, log_u = drawn
            proposal, log_ratio = self.kernel.propose(self.target, x, z)
            accepted = log_u < log_ratio
            return jnp.where(accepted[..., None], proposal, x), accepted

        last, accepted = lax.scan(body, previous, tuple(jnp.moveaxis(each, 2, 0) for each in noise))
        return last, jnp.moveaxis(accepted, 0, -1)
