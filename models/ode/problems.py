"""Differential equations, layers and permutations as systems by name."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array

from models.ode.fields import Contraction, Lorenz63, Pendulum
from models.ode.flow import Flow
from models.ode.permutations import Permutations
from models.ode.residual import ResidualNetwork
from models.problem import Count, Nonnegative, Number, Positive, Problem


@dataclass(frozen=True)
class LorenzProblem(Problem):
    """Lorenz's equations of 1963 by Runge-Kutta steps, chaotic with the usual parameters."""

    num_steps: Count = 10_000
    step_size: Positive = 0.01  # in units of time
    batch_size: Count = 1
    sigma: Number = 10.0
    rho: Number = 28.0
    beta: Number = 8.0 / 3.0

    def system(self, seed: int) -> Flow:
        """From random states, about one from the origin."""
        lorenz = Lorenz63(*(jnp.asarray(value, float) for value in (self.sigma, self.rho, self.beta)))
        first = jax.random.normal(jax.random.key(seed), (self.batch_size, 3))
        return Flow(lorenz, first, self.num_steps, self.step_size)


@dataclass(frozen=True)
class PendulumProblem(Problem):
    """A damped pendulum by Runge-Kutta steps, large swings that die away."""

    num_steps: Count = 10_000
    step_size: Positive = 0.01  # in units of time, of which a small swing takes 2 pi
    batch_size: Count = 1
    damping: Nonnegative = 0.1

    def system(self, seed: int) -> Flow:
        """From random angles between -3 and 3 radians, at rest."""
        angles = jax.random.uniform(jax.random.key(seed), (self.batch_size,), minval=-3.0, maxval=3.0)
        pendulum = Pendulum(jnp.asarray(self.damping, float))
        return Flow(pendulum, jnp.stack([angles, jnp.zeros_like(angles)], axis=-1), self.num_steps, self.step_size)


@dataclass(frozen=True)
class ContractionProblem(Problem):
    """A driven network of rate neurons by Runge-Kutta steps, whose solutions approach each other."""

    num_steps: Count = 10_000
    step_size: Positive = 0.1  # in units of time, of which a neuron's own decay takes 1
    batch_size: Count = 1
    features: Count = 8
    gain: Nonnegative = 0.8  # the largest singular value of the weights; it contracts for certain below 1

    def system(self, seed: int) -> Flow:
        """Random weights, amplitudes and phases, from random states."""
        keys = jax.random.split(jax.random.key(seed), 4)
        kernel = jax.random.normal(keys[0], (self.features, self.features))
        network = Contraction(
            self.gain * kernel / jnp.linalg.norm(kernel, 2),
            jax.random.normal(keys[1], (self.features,)),
            jax.random.uniform(keys[2], (self.features,), maxval=2.0 * jnp.pi),
        )
        return Flow(
            network, jax.random.normal(keys[3], (self.batch_size, self.features)), self.num_steps, self.step_size
        )


@dataclass(frozen=True)
class ResidualProblem(Problem):
    """The layers of a residual network with random weights, depth in the place of time."""

    num_layers: Count = 48
    batch_size: Count = 16
    features: Count = 64
    hidden_size: Count = 128
    scale: Nonnegative = 1.0  # of what all layers together add to a state of size 1

    def system(self, seed: int) -> ResidualNetwork:
        """Random weights, and normal inputs."""
        keys = jax.random.split(jax.random.key(seed), 3)

        def draw(key: Array, inputs: int, outputs: int) -> Array:
            return jax.random.normal(key, (self.num_layers, inputs, outputs)) / jnp.sqrt(inputs)

        # Half of a relu's outputs are zero: with the variance doubled a layer adds 1 / T to the mean square of a state.
        share = self.scale * jnp.sqrt(2.0 / self.num_layers)
        return ResidualNetwork(
            draw(keys[0], self.features, self.hidden_size),
            jnp.zeros((self.num_layers, self.hidden_size)),
            share * draw(keys[1], self.hidden_size, self.features),
            jax.random.normal(keys[2], (self.batch_size, self.features)),
        )


@dataclass(frozen=True)
class PermutationProblem(Problem):
    """Random permutations one after the other, which are linear and forget nothing."""

    num_steps: Count = 10_000
    batch_size: Count = 1
    features: Count = 5  # the group is that of all permutations of so many things

    def system(self, seed: int) -> Permutations:
        """Random permutations of normal numbers."""
        keys = jax.random.split(jax.random.key(seed))
        first = jax.random.normal(keys[0], (self.batch_size, self.features))
        shape = (self.num_steps, self.batch_size, self.features)
        ranks = jnp.broadcast_to(jnp.arange(self.features), shape)
        return Permutations(jax.random.permutation(keys[1], ranks, axis=-1, independent=True), first)
