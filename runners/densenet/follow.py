"""Follow a solver on many images: the answers of the network after each of its steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from runners.config.solvers import SolverEntry
from runners.densenet.answers import Answers
from runners.measure.timing import CompiledSolve, Slice, follow
from solvers import Status
from solvers.equations import compare


@dataclass(frozen=True)
class Followed:
    """One solver on N images. Step 0 is the first guess; an image that is done stays as it is."""

    answers: Answers
    difference: Float[np.ndarray, "S N"]  # max |x_s - x_(s-1)| of the state by iteration; infinite for the first guess
    outcome: Status  # the worst


class _Batch(NamedTuple):
    """One solve: after each step, for every image of the batch."""

    num_steps: Int[np.ndarray, " S"]
    logits: Float[np.ndarray, "S B K"]
    difference: Float[np.ndarray, "S B"]
    last: Int[np.ndarray, " B"]  # the row from which on an image is done
    outcome: Status


def follow_answers(entry: SolverEntry, systems: Iterable[Any], num_images: int) -> Followed:
    """Solve every system, of one shape and each with a batch of images, step by step.

    The last batch may have more images than are left: those past ``num_images`` are dropped.
    """
    batches = list(_batches(entry, systems))
    length = max(len(batch.num_steps) for batch in batches)
    steps = [np.tile(_extended(b.num_steps, length)[:, None], (1, len(b.last))) for b in batches]
    logits = np.concatenate([_extended(batch.logits, length) for batch in batches], axis=1)
    difference = np.concatenate(
        [np.pad(b.difference, ((0, length - len(b.difference)), (0, 0))) for b in batches], axis=1
    )
    last = np.concatenate([batch.last for batch in batches])
    answers = Answers(np.concatenate(steps, axis=1)[:, :num_images], logits[:, :num_images], last[:num_images])
    return Followed(answers, difference[:, :num_images], max(batch.outcome for batch in batches))


def _batches(entry: SolverEntry, systems: Iterable[Any]) -> Iterator[_Batch]:
    solve: CompiledSolve | None = None
    for system in systems:
        solve = CompiledSolve(system, entry.solver, max_steps=entry.max_steps) if solve is None else solve.on(system)
        yield _follow_one(solve)


def _follow_one(compiled: CompiledSolve) -> _Batch:
    system = compiled.system
    x = system.initial_guess()

    def observe(piece: Slice) -> tuple[int, np.ndarray, np.ndarray]:
        nonlocal x  # the state before
        logits, difference = _observe(system, piece.progress.x, x)
        x = piece.progress.x
        return int(piece.progress.num_steps), np.asarray(logits), np.asarray(difference)

    logits, difference = _observe(system, x, x)
    guess = (0, np.asarray(logits), np.full(difference.shape, np.inf, np.float32))
    followed = follow(compiled, observe, every=1)
    num_steps, all_logits, differences = (np.array(column) for column in zip(guess, *followed.seen, strict=True))
    converged = np.asarray(followed.solution.stats.steps_to_convergence)
    last = np.where(converged < 0, len(num_steps) - 1, np.searchsorted(num_steps, converged))
    return _Batch(num_steps, all_logits, differences, last, followed.solution.outcome)


@jax.jit
def _observe(system: Any, x: Any, previous: Any) -> tuple[Float[Array, "B K"], Float[Array, " B"]]:
    """The logits of a state, and how far it is from the one before."""
    return system.readout(x), compare(x, previous, system.num_equations).residual


def _extended(rows: Shaped[np.ndarray, "S *n"], length: int) -> Shaped[np.ndarray, "L *n"]:
    """The last row again, up to ``length`` rows."""
    return rows[np.minimum(np.arange(length), len(rows) - 1)]
