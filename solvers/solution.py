"""The outcome of a solve: a status with a sentence, the numbers behind it, and the trace if one was asked for."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from jax.experimental import checkify
from jaxtyping import Array, Float, Int

from .trees.pytree import pytree

X = TypeVar("X")


class Status(enum.IntEnum):
    """How a solve ended, the worse the higher; the status of a batch is that of its worst sample."""

    CONVERGED = 0
    STOPPED = (
        1  # no solve ends so by itself: it is for one of the next kind, or at a rough tolerance, that was meant to
    )
    MAX_STEPS_REACHED = 2
    TIME_LIMIT_REACHED = 3
    DIVERGED = 4
    NONFINITE = 5

    @property
    def label(self) -> str:
        """The name of the status in results files."""
        return self.name.lower()

    def __str__(self) -> str:
        return self.label

    @property
    def is_failure(self) -> bool:
        """Whether the solve ended otherwise than it was asked to."""
        return self > Status.STOPPED

    @property
    def sentence(self) -> str:
        """A sentence for a person about how the solve ended."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.CONVERGED: "The solver converged.",
    Status.STOPPED: "The solver was stopped on purpose, before it had converged.",
    Status.MAX_STEPS_REACHED: "The step limit was reached before the solver converged; raise max_steps.",
    Status.TIME_LIMIT_REACHED: "The time limit was reached before the solver converged; raise time_limit_s.",
    Status.DIVERGED: (
        "The residual grew to more than a million times its first value, and the step limit is below the number of "
        "steps after which the solver would terminate; raise max_steps or take another solver."
    ),
    Status.NONFINITE: "The exact solution itself holds a non-finite value (NaN or infinity); check weights and noise.",
}


class SolveError(RuntimeError):
    """A solve that did not converge, raised where the caller asked for it; ``status`` says how it ended."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.sentence)
        self.status = status


@pytree
@dataclass(frozen=True)
class Stats:
    """The cost of a solve, and how far it came."""

    num_steps: Int[Array, ""]  # sequential network evaluations: the parallel depth
    num_iterations: Int[Array, ""]  # steps of the solver; max_steps limits these
    sweep_equivalents: Float[Array, ""]  # work, in units of one full sweep
    function_evaluations: Float[Array, ""]  # work, in single equations for each sample
    residual: Float[Array, " B"]  # the last one that the solver saw
    frontier: Int[Array, " B"]  # length of the prefix known to be exact
    steps_to_convergence: Int[Array, " B"]  # in num_steps; -1 where a sample did not converge
    guess_resets: Int[Array, ""]  # of all samples, steps after which guesses that were not finite were set back


@pytree
@dataclass(frozen=True)
class Trace:
    """Residual, frontier and error after each iteration, in buffers as long as the step limit.

    The limit is never beyond the number of steps after which the solver terminates on any triangular system.
    """

    num_steps: Int[Array, " S"]  # sequential network evaluations so far; -1 where no iteration wrote
    residual: Float[Array, "S B"]
    frontier: Int[Array, "S B"]
    error: Float[Array, "S B"]  # max |x - reference|; NaN without a reference


@pytree
@dataclass(frozen=True)
class Solution(Generic[X]):
    """The outcome of a solve."""

    value: X
    status: Int[Array, ""]  # a Status
    sample_status: Int[Array, " B"]
    stats: Stats
    trace: Trace | None
    state: Any  # a Progress, from which solve() can go on

    @property
    def outcome(self) -> Status:
        """The status as an enum member; for concrete (not traced, not batched) solutions."""
        return Status(int(self.status))

    def check(self) -> Solution[X]:
        """The solution itself if it converged; raises SolveError otherwise.

        Under jit and vmap no Python error can depend on values. There it is a check of jax.experimental.checkify, whose
        error ``checkify.checkify(f)`` hands out and ``err.throw()`` raises.
        """
        if isinstance(self.status, jax.core.Tracer):
            checkify.check(
                self.status == int(Status.CONVERGED), "the solve did not converge; its status is {}", self.status
            )
        elif self.outcome is not Status.CONVERGED:
            raise SolveError(self.outcome)
        return self

    def __str__(self) -> str:
        """One line for a person: how it ended, and what it cost."""
        if isinstance(self.status, jax.core.Tracer):
            return f"Solution({jax.tree.map(lambda leaf: leaf.aval, self.value)}, not evaluated yet)"
        shapes = jax.tree.map(lambda leaf: f"{leaf.dtype}{tuple(leaf.shape)}", self.value)
        residual = float(jnp.max(self.stats.residual, initial=0.0))
        return (
            f"Solution({Status(int(jnp.max(self.status)))} after {int(jnp.max(self.stats.num_steps))} steps, "
            f"residual {residual:.1e}, value {shapes})"
        )
