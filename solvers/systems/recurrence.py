"""Equations of order one, x_t = f_t(x_{t-1}): everything that follows from the transitions alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from ..trees.blocks import Start


class Recurrence(ABC):
    """A recurrence with a whole row of transitions at once, as a system of equations whose cache is the last state.

    A subclass has ``num_equations``, ``initial_state`` and ``transitions``, and thereby satisfies MarkovSystem,
    SlidingBlockSystem and ForwardSubstitution of solvers/system.py.
    """

    initial_state: Any  # leaves (batch, ...): the state before equation 0

    @property
    @abstractmethod
    def num_equations(self) -> int:
        """T."""

    @abstractmethod
    def transitions(self, previous: Any, start: Start) -> Any:
        """Equations start, start + 1, ...: the states that follow each of ``previous``, leaves (size, batch, ...).

        Equations past T are padding, whose values are not read.
        """

    @property
    def block_unit(self) -> int:
        """Any equation may begin a block."""
        return 1

    def transition(self, previous: Any, t: Int[Array, ""]) -> Any:
        """Equation t: the state that follows ``previous``."""
        one = self.transitions(jax.tree.map(lambda a: a[None], previous), t)
        return jax.tree.map(lambda a: a[0], one)

    def initial_guess(self) -> Any:
        """The initial state, everywhere."""
        length = self.num_equations
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (length, *a.shape)), self.initial_state)

    def init_cache(self) -> Any:
        """The state before the first equation."""
        return self.initial_state

    def sweep(self, x: Any) -> Any:
        """All transitions, each from its guess."""
        return self.transitions(shifted(self.initial_state, x), 0) if self.num_equations else x

    def update(self, x: Any, cache: Any, start: Start, size: int) -> tuple[Any, Any]:
        """Equations [start, start + size) and the last of their states."""
        values = self.transitions(shifted(cache, x), start)
        return values, jax.tree.map(lambda a: a[-1], values)

    def slide(self, x: Any, cache: Any, start: Start, size: int, keep: Start) -> tuple[Any, Any]:
        """Equations [start, start + size) and the guess before equation start + keep."""
        behind = jax.tree.map(lambda first, a: jnp.concatenate([first[None], a])[keep], cache, x)
        return self.transitions(shifted(cache, x), start), behind

    def prefix_caches(self, x: Any, block_size: int) -> Any:
        """The states before each block, after one sweep."""
        return jax.tree.map(
            lambda first, a: jnp.concatenate([first[None], a[block_size - 1 : -1 : block_size]]),
            self.initial_state,
            self.sweep(x),
        )

    def forward_substitution(self, cache: Any, start: Start, size: int) -> tuple[Any, Any]:
        """One transition after the other."""

        def body(state: Any, t: Int[Array, ""]) -> tuple[Any, Any]:
            following = self.transition(state, t)
            return following, following

        last, values = lax.scan(body, cache, start + jnp.arange(size))
        return values, last


def shifted(first: Any, x: Any) -> Any:
    """``first`` and all but the last of ``x``: what each equation of order one reads."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]])[: b.shape[0]], first, x)
