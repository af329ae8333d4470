"""Steps of an ordinary differential equation, x' = f(t, x), as equations of order one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from solvers.systems.recurrence import Recurrence
from solvers.trees.blocks import Start
from solvers.trees.pytree import pytree


@runtime_checkable
class VectorField(Protocol):
    """The right-hand side f(t, x) of a differential equation; a registered pytree."""

    def __call__(self, t: Float[Array, "*S"], x: Float[Array, "*S D"]) -> Float[Array, "*S D"]:
        """The derivatives of states x, each at a time of its own."""


@pytree
@dataclass(frozen=True)
class Flow(Recurrence):
    """x_t from x_{t-1} by a step of size h of the classical Runge-Kutta method of order four; x_t is at time (t + 1) h.

        k1 = f(s, x)    k2 = f(s + h/2, x + h/2 k1)    k3 = f(s + h/2, x + h/2 k2)    k4 = f(s + h, x + h k3)
        x' = x + h/6 (k1 + 2 k2 + 2 k3 + k4)

    Satisfies all that Recurrence does. Its coarse map, for parareal, is one such step in the place of many.
    """

    vector_field: Any  # a VectorField
    first: Float[Array, "B D"]  # the state at time 0
    num_steps: int = field(metadata={"static": True})
    step_size: float = field(metadata={"static": True})  # h, in units of the equation's time

    @property
    def initial_state(self) -> Float[Array, "B D"]:
        """The state before equation 0."""
        return self.first

    @property
    def num_equations(self) -> int:
        """The number of steps, T."""
        return self.num_steps

    def transitions(self, previous: Float[Array, "S B D"], start: Start) -> Float[Array, "S B D"]:
        """One step from each of ``previous``; see Recurrence."""
        times = self.step_size * (start + jnp.arange(previous.shape[0]))
        return self._step(previous, times[:, None], self.step_size)

    def coarse(self, previous: Float[Array, "B D"], start: Start, size: int) -> Float[Array, "B D"]:
        """Equation start + size - 1 from the state before equation ``start``, by one step."""
        return self._step(previous, self.step_size * jnp.asarray(start), self.step_size * size)

    def _step(self, x: Float[Array, "*S D"], t: Float[Array, "..."], h: float) -> Float[Array, "*S D"]:
        t = jnp.broadcast_to(t, x.shape[:-1]).astype(x.dtype)
        k1 = self.vector_field(t, x)
        k2 = self.vector_field(t + h / 2, x + h / 2 * k1)
        k3 = self.vector_field(t + h / 2, x + h / 2 * k2)
        k4 = self.vector_field(t + h, x + h * k3)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
