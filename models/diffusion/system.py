"""Sampling from a diffusion model as equations: each step from the one before, with all noise bound beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from models.diffusion.schedule import Steps
from solvers.systems.recurrence import Recurrence
from solvers.trees.blocks import Start, take_block
from solvers.trees.pytree import pytree

_LEAST = 1e-6

# The images x_t and, for samplers of order two, those that the network saw in x_{t-1}.
State: TypeAlias = tuple[Float[Array, "S B F"], ...]


@pytree
@dataclass(frozen=True)
class DiffusionSystem(Recurrence):
    """x_t = on_x x_{t-1} + on_v v(x_{t-1}) + on_noise z_t, an equation for each step of DDIM or DDPM.

    Satisfies StructuredMarkovSystem, CoarseMarkovSystem and all that Recurrence does. What stands for the Jacobians is
    exact in all that is known of a step; of the network it takes what it would be for normal images of the
    ``variance``.
    """

    denoiser: Any  # (x (S, B, F), time (S,)) -> v
    steps: Steps
    noise: Float[Array, "T B F"] | None  # z; None where no step has any
    first: Float[Array, "B F"]
    variance: float = field(metadata={"static": True})

    @property
    def num_equations(self) -> int:
        """The number of steps, T."""
        return int(self.steps.time.shape[0])

    @property
    def initial_state(self) -> Float[Array, "B F"]:
        """Noise, or the image that is inverted."""
        return self.first

    def transitions(self, previous: Float[Array, "S B F"], start: Start) -> Float[Array, "S B F"]:
        """One step from each of ``previous``; see Recurrence."""
        steps = _columns(take_block(self.steps, start, previous.shape[0]))
        return self._step(steps, previous, start)[0]

    def structured_jacobians(
        self, previous: Float[Array, "S B F"], start: Start
    ) -> tuple[Float[Array, "S B F"], Float[Array, "S B F"]]:
        """The steps, and one slope for all numbers of each; see StructuredMarkovSystem."""
        size = previous.shape[0]
        slopes = take_block(self.steps.slopes(self.variance), start, size)[:, None, None]
        return self.transitions(previous, start), jnp.broadcast_to(slopes, previous.shape)

    def coarse(self, previous: Float[Array, "B F"], start: Start, size: int) -> Float[Array, "B F"]:
        """About the image after so many steps: of DDIM, by one large step; see CoarseMarkovSystem."""
        return self._held(previous, start, size, jnp.zeros_like(previous))[0]

    def _held(
        self, x: Float[Array, "B F"], start: Start, size: int, before: Float[Array, "B F"]
    ) -> tuple[Float[Array, "B F"], Float[Array, "B F"]]:
        """Steps in all of which the network sees the image that it sees in the first, and that image."""
        steps = take_block(self.steps, start, size)
        v = self.denoiser(x[None], steps.time[:1])[0]
        seen = jnp.cos(steps.angle[0]) * x - jnp.sin(steps.angle[0]) * v
        noise = jnp.zeros((size, 1, 1)) if self.noise is None else take_block(self.noise, start, size)

        def step(i: Int[Array, ""], x: Float[Array, "B F"]) -> Float[Array, "B F"]:
            now, z = jax.tree.map(lambda a: a[i], (steps, noise))
            # An image that is inverted begins without noise, and needs no velocity but the network's.
            told = (jnp.cos(now.angle) * x - seen) / jnp.maximum(jnp.sin(now.angle), _LEAST)
            remembered = now.on_before * jnp.where(i == 0, before, seen)
            return now.on_x * x + now.on_v * jnp.where(i == 0, v, told) + remembered + now.on_noise * z

        return lax.fori_loop(0, size, step, x), seen

    def _step(
        self, steps: Steps, x: Float[Array, "S B F"], start: Start
    ) -> tuple[Float[Array, "S B F"], Float[Array, "S B F"]]:
        """The steps without what they remember, and the velocities."""
        v = self.denoiser(x, steps.time[:, 0, 0])
        new = steps.on_x * x + steps.on_v * v
        if self.noise is not None:
            new = new + steps.on_noise * take_block(self.noise, start, x.shape[0])
        return new, v


@pytree
@dataclass(frozen=True)
class RememberingDiffusionSystem(DiffusionSystem):
    """As DiffusionSystem, where a step remembers the image that the one before saw: DPM-Solver++(2M).

    A state is (x_t, y_{t-1}), y_{t-1} = alpha x_{t-1} - sigma v(x_{t-1}); the Jacobians are blocks of two by two.
    """

    @property
    def initial_state(self) -> tuple[Float[Array, "B F"], Float[Array, "B F"]]:  # type: ignore[override]
        """Noise, and zeros, which the first step does not read."""
        return self.first, jnp.zeros_like(self.first)

    def transitions(self, previous: State, start: Start) -> State:  # type: ignore[override]
        """One step from each of ``previous``; see Recurrence."""
        x, before = previous
        steps = _columns(take_block(self.steps, start, x.shape[0]))
        new, v = self._step(steps, x, start)
        seen = jnp.cos(steps.angle) * x - jnp.sin(steps.angle) * v
        return new + steps.on_before * before, seen

    def coarse(  # type: ignore[override]
        self, previous: tuple[Float[Array, "B F"], Float[Array, "B F"]], start: Start, size: int
    ) -> tuple[Float[Array, "B F"], Float[Array, "B F"]]:
        """About the state after so many steps, as the image that is remembered the first that the network sees."""
        return self._held(previous[0], start, size, previous[1])

    def structured_jacobians(  # type: ignore[override]
        self, previous: State, start: Start
    ) -> tuple[State, Float[Array, "S B F 2 2"]]:
        """The steps, and of each number how both parts of the state depend on both; see StructuredMarkovSystem."""
        x, _ = previous
        steps = take_block(self.steps, start, x.shape[0])
        slopes = take_block(self.steps.slopes(self.variance), start, x.shape[0])
        alpha, sigma = jnp.cos(steps.angle), jnp.sin(steps.angle)
        of_image = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        rows = jnp.stack(
            [jnp.stack([slopes, steps.on_before], -1), jnp.stack([of_image, jnp.zeros_like(slopes)], -1)], -2
        )
        return self.transitions(previous, start), jnp.broadcast_to(rows[:, None, None], (*x.shape, 2, 2))


def _columns(steps: Steps) -> Steps:
    """Numbers of each step as they go with states (S, B, F)."""
    return Steps(*(a[:, None, None] for a in steps))
