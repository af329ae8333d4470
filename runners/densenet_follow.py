"""What a network would answer after each step of a solver, for many images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from runners.densenet_answers import Answers
from runners.solver_entry import SolverEntry
from runners.timing import CompiledSolve
from solvers import Status
from solvers.equations import compare


@dataclass(frozen=True)
class Followed:
    """One solver on N images. Step 0 is the first guess; an image that is done stays as it is."""

    answers: Answers
    difference: Float[np.ndarray, "S N"]  # max |x_s - x_(s-1)| of the state; infinite for the first guess
    outcome: Status  # the worst


class _Batch(NamedTuple):
    """One solve: after each step, for every image of the batch."""

    num_steps: Int[np.ndarray, " S"]
    logits: Float[np.ndarray, "S B K"]
    difference: Float[np.ndarray, "S B"]
    outcome: Status


def follow(entry: SolverEntry, systems: Iterable[Any], num_images: int) -> Followed:
    """Solve every system, of one shape and each with a batch of images, step by step.

    The last batch may have more images than are left: those past ``num_images`` are dropped.
    """
    batches = list(_batches(entry, systems))
    longest = max(batches, key=lambda batch: len(batch.num_steps)).num_steps
    steps = np.concatenate([np.full(b.difference.shape[1], len(b.num_steps) - 1) for b in batches])[:num_images]
    logits = np.concatenate([_extended(batch.logits, len(longest)) for batch in batches], axis=1)
    difference = np.concatenate([_still(batch.difference, len(longest)) for batch in batches], axis=1)
    answers = Answers(longest, logits[:, :num_images], steps)
    return Followed(answers, difference[:, :num_images], max(batch.outcome for batch in batches))


def _batches(entry: SolverEntry, systems: Iterable[Any]) -> Iterator[_Batch]:
    solve: CompiledSolve | None = None
    for system in systems:
        solve = CompiledSolve(system, entry.solver, max_steps=entry.max_steps) if solve is None else solve.on(system)
        yield _follow_one(solve)


def _follow_one(solve: CompiledSolve) -> _Batch:
    guess = solve.system.initial_guess()
    logits, difference = _observe(solve.system, guess, guess)
    found = [(0, np.asarray(logits), np.full(difference.shape, np.inf, np.float32))]
    x, outcome = guess, Status.MAX_STEPS_REACHED
    for piece in solve.slices(1):
        logits, difference = _observe(solve.system, piece.progress.x, x)
        found.append((int(piece.progress.num_steps), np.asarray(logits), np.asarray(difference)))
        x, outcome = piece.progress.x, Status(int(np.max(piece.progress.status)))
    num_steps, all_logits, differences = zip(*found, strict=True)
    return _Batch(np.array(num_steps), np.stack(all_logits), np.stack(differences), outcome)


@jax.jit
def _observe(system: Any, x: Any, previous: Any) -> tuple[Float[Array, "B K"], Float[Array, " B"]]:
    """The logits of a state, and how far it is from the one before."""
    return system.readout(x), compare(x, previous, system.num_equations).residual


def _extended(rows: Float[np.ndarray, "S B K"], length: int) -> Float[np.ndarray, "L B K"]:
    """The last row again, up to ``length`` rows."""
    return rows[np.minimum(np.arange(length), len(rows) - 1)]


def _still(difference: Float[np.ndarray, "S B"], length: int) -> Float[np.ndarray, "L B"]:
    """Zeros behind, up to ``length`` rows."""
    return np.pad(difference, ((0, length - len(difference)), (0, 0)))
