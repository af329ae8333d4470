"""Answers of a classifier on the way to its exact output: how far off, when they settle, when one may stop.

Row s is that after s of a solver's iterations, 0 its first guess. The five largest logits (all, where there are fewer
classes) are compared in their order and as a set; the published curves took the five smallest. ``follow_answers`` gets
them: it follows a solver on many images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from runners.config.solvers import SolverEntry
from runners.measure.processes import gathered
from runners.measure.timing import CompiledSolve, Slice, follow
from solvers import Status
from solvers.equations import compare

TOP = 5


@dataclass(frozen=True)
class Answers:
    """A solver's output for N images by iteration; an image that is done stays as it is."""

    num_steps: Int[np.ndarray, "S N"]  # sequential steps so far: iterations on different segments may differ in them
    logits: Float[np.ndarray, "S N K"]
    last: Int[np.ndarray, " N"]  # the row from which on an image is done

    @property
    def all_steps(self) -> Int[np.ndarray, " G"]:
        """The numbers of steps after which an iteration ended for some image, in order."""
        return np.unique(self.num_steps)

    def by_steps(self, rows: Shaped[np.ndarray, "S N"]) -> Shaped[np.ndarray, "G N"]:
        """Values by iteration as values by ``all_steps``: within an iteration, those of the one before."""
        steps = self.all_steps[:, None, None]
        first = np.sum(self.num_steps < steps, axis=1)  # the first row of so many steps, if there is one
        found = np.take_along_axis(self.num_steps, np.minimum(first, len(rows) - 1), axis=0)
        return np.take_along_axis(rows, first - (found != steps[:, 0]), axis=0)

    def error(self, exact: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "S N"]:
        """Max |logits - exact| over the classes."""
        return np.max(np.abs(self.logits - exact), axis=-1)

    def agreement(self, exact: Float[np.ndarray, "N K"]) -> dict[str, Bool[np.ndarray, "S N"]]:
        """Whether the answer is the exact one: ``top1``, ``top5`` as a set, ``top5_in_order``."""
        return agreement(top_classes(self.logits), top_classes(exact))

    def settled(self) -> dict[str, Int[np.ndarray, " N"]]:
        """Sequential steps after which nothing changes: ``top5``, ``top5_in_order``, ``logits`` bit for bit."""
        top = top_classes(self.logits)
        same = {
            "top5": np.all(np.sort(top) == np.sort(top[-1]), axis=-1),
            "top5_in_order": np.all(top == top[-1], axis=-1),
            "logits": np.all(self.logits == self.logits[-1], axis=-1),
        }
        return {name: self.steps_at(_first_of_last_run(rows)) for name, rows in same.items()}

    def steps_at(self, row: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
        """Sequential steps up to a row of each image."""
        return self.num_steps[row, np.arange(len(row))]

    def exits(self, k: int) -> Int[np.ndarray, " N"]:
        """The row of each image at which the five largest logits, in their order, have been the same for k iterations.

        Answers count from row 1 on. An image that is done before is left then.
        """
        top = top_classes(self.logits[1:])
        same = np.all(top[1:] == top[:-1], axis=-1)  # row i: step i + 2 answers as step i + 1 does
        runs = np.cumsum(same, axis=0)
        runs = runs - np.maximum.accumulate(np.where(same, 0, runs), axis=0)  # how long it has been the same
        reached = np.concatenate([runs >= k, np.ones((1, runs.shape[1]), bool)])
        return np.minimum(np.argmax(reached, axis=0) + 2, self.last)

    def early_exit(self, exact: Float[np.ndarray, "N K"], k: int) -> dict[str, Any]:
        """The cost of stopping so and what it saves, as results have it; shares are of the images."""
        stop = self.exits(k)
        answer = self.logits[stop, np.arange(len(stop))]
        right = agreement(top_classes(answer), top_classes(exact))
        steps = self.steps_at(stop)
        return {
            "k": k,
            "mean_steps": float(steps.mean()),
            "median_steps": float(np.median(steps)),
            "max_steps": int(steps.max()),
            "mean_steps_in_full": float(self.steps_at(self.last).mean()),
            **{f"{name}_differs": float(1.0 - same.mean()) for name, same in right.items()},
        }


def top_classes(logits: Float[np.ndarray, "*n K"]) -> Int[np.ndarray, "*n top"]:
    """The classes of the five largest logits, the largest first; of equal ones the first."""
    return np.argsort(-logits, axis=-1, kind="stable")[..., :TOP]


def agreement(top: Int[np.ndarray, "*n top"], exact: Int[np.ndarray, "*m top"]) -> dict[str, Bool[np.ndarray, "*n"]]:
    """Whether answers are the same: the first, the set and the order."""
    return {
        "top1": top[..., 0] == exact[..., 0],
        "top5": np.all(np.sort(top) == np.sort(exact), axis=-1),
        "top5_in_order": np.all(top == exact, axis=-1),
    }


def quartiles(values: Float[np.ndarray, "S N"]) -> dict[str, list[float]]:
    """Median and quartiles over the images, by step."""
    q1, median, q3 = np.percentile(values, [25, 50, 75], axis=1, method="nearest")
    return {"median": median.tolist(), "q1": q1.tolist(), "q3": q3.tolist()}


def _first_of_last_run(rows: Bool[np.ndarray, "S N"]) -> Int[np.ndarray, " N"]:
    """For each image the first row from which on all are true; the last counts as true, though NaN equals nothing."""
    false: Int[np.ndarray, " N"] = np.max(np.where(rows[:-1], -1, np.arange(len(rows) - 1)[:, None]), axis=0)
    return false + 1


@dataclass(frozen=True)
class Followed:
    """One solver on N images. Step 0 is the first guess; an image that is done stays as it is."""

    answers: Answers
    difference: Float[np.ndarray, "S N"]  # max |x_s - x_(s-1)| of the state by iteration; infinite for the first guess
    outcome: Status  # the worst


def follow_answers(entry: SolverEntry, systems: Iterable[Any], num_images: int) -> Followed:
    """Solve every system, of one shape and each with a batch of images, step by step.

    The last batch may have more images than are left: those past ``num_images`` are dropped.
    """
    batches = list(_follow_each(entry, systems))
    length = max(len(batch.difference) for batch in batches)
    still = [np.pad(batch.difference, ((0, length - len(batch.difference)), (0, 0))) for batch in batches]
    rows = [np.minimum(np.arange(length), len(batch.difference) - 1) for batch in batches]  # the last one again
    found = [batch.answers for batch in batches]
    num_steps = np.concatenate([one.num_steps[row] for one, row in zip(found, rows, strict=True)], axis=1)
    logits = np.concatenate([one.logits[row] for one, row in zip(found, rows, strict=True)], axis=1)
    last = np.concatenate([one.last for one in found])
    answers = Answers(num_steps[:, :num_images], logits[:, :num_images], last[:num_images])
    difference = np.concatenate(still, axis=1)[:, :num_images]
    return Followed(answers, difference, max(batch.outcome for batch in batches))


def _follow_each(entry: SolverEntry, systems: Iterable[Any]) -> Iterator[Followed]:
    solve: CompiledSolve | None = None
    for system in systems:
        solve = CompiledSolve(system, entry.solver, max_steps=entry.max_steps) if solve is None else solve.on(system)
        yield _follow_one(solve)


def _follow_one(compiled: CompiledSolve) -> Followed:
    system = compiled.system
    x = system.initial_guess()

    def observe(piece: Slice) -> tuple[int, np.ndarray, np.ndarray]:
        nonlocal x  # the state before
        logits, difference = gathered(_observe(system, piece.progress.x, x))
        x = piece.progress.x
        return int(piece.progress.num_steps), np.asarray(logits), np.asarray(difference)

    logits, difference = gathered(_observe(system, x, x))
    guess = (0, np.asarray(logits), np.full(difference.shape, np.inf, np.float32))
    followed = follow(compiled, observe, every=1)
    num_steps, all_logits, differences = (np.array(column) for column in zip(guess, *followed.seen, strict=True))
    converged = np.asarray(gathered(followed.solution.stats.steps_to_convergence))
    last = np.where(converged < 0, len(num_steps) - 1, np.searchsorted(num_steps, converged))
    by_image = np.tile(num_steps[:, None], (1, len(last)))
    return Followed(Answers(by_image, all_logits, last), differences, followed.solution.outcome)


@jax.jit
def _observe(system: Any, x: Any, previous: Any) -> tuple[Float[Array, "B K"], Float[Array, " B"]]:
    """The logits of a state, and how far it is from the one before."""
    return system.readout(x), compare(x, previous, system.num_equations).residual
