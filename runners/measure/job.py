"""Measure one solver on one system: times, exactness, and the way to the answer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from runners.config.solvers import SolverEntry
from runners.measure.processes import gathered
from runners.measure.progress import SolveProgress
from runners.measure.timing import CompiledSolve, Slice, Times, follow
from runners.measure.way import TraceRows, by_traced_program, step_by_step, stops_pay
from solvers import Solution, Status, TraceOptions

MISMATCH = 1e-3  # an equation whose value is further than this from the reference sweep's counts as mismatched
FRAMES = 40  # how many intermediate states are kept of each solve
FRAME_SAMPLES = 16
# A run shorter than this is begun anew for every frame and not stopped for it: a stop costs up to a millisecond, so
# FRAMES of them would be a tenth of it or more.
UNSTOPPED_S = 0.4
LONG_S = 20.0  # a run longer than this needs no warming up


@dataclass(frozen=True)
class Frames:
    """A solve as it went: states of the first samples (F, T, N, ...), and the measured time and steps of each."""

    states: Any
    time_s: np.ndarray
    num_steps: np.ndarray
    iterations: np.ndarray

    @property
    def each(self) -> Iterator[Any]:
        """The states one by one, leaves (T, N, ...)."""
        return (jax.tree.map(lambda leaf, i=i: leaf[i], self.states) for i in range(len(self.time_s)))


@dataclass(frozen=True)
class Roughness:
    """What a solve that stops on purpose lacks, beside the exact answer."""

    wrong_equations: int  # over the batch, further than MISMATCH from the exact ones
    wrong_share: float  # of all equations
    mean_abs_error: float

    @property
    def sentence(self) -> str:
        """For a person."""
        return (
            f"{self.wrong_share:.1%} of the equations are off by more than {MISMATCH:g}; the mean error is "
            f"{self.mean_abs_error:.1e}."
        )


@dataclass(frozen=True)
class Row:
    """One solver's results. ``record`` holds all but the last five as they are named here."""

    label: str
    entry: SolverEntry
    status: Status
    num_steps: int
    num_iterations: int
    sweep_equivalents: float
    guess_resets: int
    steps_to_convergence: list[int]
    compile_s: float
    run_s: Times
    max_residual: float
    mismatched_equations: int
    max_abs_error: float
    peak_memory_bytes: int | None
    trace: dict[str, np.ndarray] | None
    frames: Frames | None
    num_steps_without_guess: int | None = None  # where the system guesses and its own first guess was tried as well
    roughness: Roughness | None = None  # of an entry that stops on purpose
    value: Any = None  # the state with which it ended

    @property
    def record(self) -> dict[str, Any]:
        """The row as results.json holds it, without what other rows have a part in."""
        measured = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[2:-5]}
        shown = {"status": self.status.label, "run_s": dataclasses.asdict(self.run_s)}
        rough = {} if self.roughness is None else {"roughness": dataclasses.asdict(self.roughness)}
        return {**self.entry.named(self.label), **measured, **shown, **rough}


@dataclass(frozen=True)
class Plan:
    """How often a solver runs, and whether its way is followed."""

    repeats: int
    trace: bool

    @classmethod
    def of(cls, entry: SolverEntry, repeats: int, trace: bool) -> Plan:
        """An entry's own settings, else the run's."""
        return cls(repeats if entry.repeats is None else entry.repeats, trace if entry.trace is None else entry.trace)

    @property
    def stages(self) -> int:
        """Compiling, warming up, the timed runs, frames and trace."""
        return 2 + self.repeats + (2 if self.trace else 0)


class Job:
    """One solver's runs."""

    def __init__(
        self,
        system: Any,
        entry: SolverEntry,
        label: str,
        plan: Plan,
        time_limit_s: float | None,
        progress: SolveProgress,
    ) -> None:
        self.system, self.entry, self.label = system, entry, label
        self.plan, self.time_limit_s, self.progress = plan, time_limit_s, progress
        progress.stage(label, "compiling")
        self.compiled = CompiledSolve(system, entry.solver, max_steps=entry.max_steps)

    def measure(self) -> Solution[Any]:
        """Warm up, then time; a long run is warm by itself."""
        solution, took = self.run("warming up")
        seconds = [took] if took > LONG_S else []
        while len(seconds) < self.plan.repeats:
            solution, took = self.run(f"run {len(seconds) + 1}/{self.plan.repeats}")
            seconds.append(took)
        self.run_s = Times.of(seconds)
        return solution

    def run_again(self) -> float:
        """Seconds of one more run, of which nothing is shown."""
        return follow(self.compiled, lambda piece: None, limit_s=self.time_limit_s).seconds

    def row(self, sweep: Callable[[Any], Any], solution: Solution[Any], reference: Any) -> Row:
        """Everything measured, and if it was asked for the trace and the frames."""
        stats = solution.stats
        residual, mismatched = residual_and_mismatches(sweep(solution.value), solution.value)
        trace, frames = self.way(solution, reference) if self.plan.trace else (None, None)
        value, rough = gathered(solution.value), self.entry.stop is not None
        return Row(
            label=self.label,
            entry=self.entry,
            status=self.entry.judged(solution.outcome),
            num_steps=int(stats.num_steps),
            num_iterations=int(stats.num_iterations),
            sweep_equivalents=float(stats.sweep_equivalents),
            guess_resets=int(stats.guess_resets),
            steps_to_convergence=np.asarray(gathered(stats.steps_to_convergence)).tolist(),
            compile_s=self.compiled.compile_s,
            run_s=self.run_s,
            max_residual=residual,
            mismatched_equations=mismatched,
            max_abs_error=_distance(solution.value, reference),
            peak_memory_bytes=self.compiled.peak_memory_bytes(),
            trace=trace,
            frames=frames,
            roughness=_roughness(value, gathered(reference)) if rough else None,
            value=jax.tree.map(np.asarray, value),
        )

    def steps_on(self, system: Any) -> int | None:
        """The steps that the solver takes on another system, solved once; None where it does not converge."""
        self.progress.stage(self.label, "without guesses")
        compiled = CompiledSolve(system, self.entry.solver, max_steps=self.entry.max_steps)
        solution = follow(compiled, self.show, limit_s=self.time_limit_s).solution
        return None if self.entry.judged(solution.outcome).is_failure else int(solution.stats.num_steps)

    def way(self, solution: Solution[Any], reference: Any) -> tuple[dict[str, np.ndarray], Frames | None]:
        """The trace and the frames of a solve that ended with ``solution``.

        A stop costs up to a millisecond, and tracing a little of each step, so a short run is begun anew for every
        frame and traced apart. A longer one is stopped and traced at once.
        """
        iterations = int(solution.stats.num_iterations)
        every, short = max(1, math.ceil(iterations / FRAMES)), self.run_s.median < UNSTOPPED_S
        self.progress.stage(self.label, "frames")
        # Looked at afterwards: work between them slows the next one.
        pieces = [self.compiled.until(steps) for steps in range(every, iterations + every, every)] if short else []
        if stops_pay(self.compiled, iterations, self.run_s.median, is_timed=not short):
            self.progress.stage(self.label, "trace")
            way = step_by_step(self.compiled, reference, self.show, every, self.time_limit_s)
        else:
            options = TraceOptions(reference)
            traced = CompiledSolve(self.system, self.entry.solver, max_steps=self.entry.max_steps, trace=options)
            self.progress.stage(self.label, "trace")
            way = by_traced_program(traced, self.show, None if short else every, self.time_limit_s)
        frames = self._frames(pieces or way.pieces)
        return _trace(way.trace, frames), frames

    def show(self, piece: Slice) -> Slice:
        """The slice, after the progress bar has been told of it."""
        frontier = int(np.asarray(gathered(piece.progress.frontier)).min())  # without waking the device for it
        self.progress.at(self.label, frontier, self.system.num_equations)
        return piece

    def run(self, stage: str) -> tuple[Solution[Any], float]:
        """Solve once. Returns the solution and the seconds that solving took."""
        self.progress.stage(self.label, stage)
        followed = follow(self.compiled, lambda piece: self.show(piece).iteration, limit_s=self.time_limit_s)
        return followed.solution, followed.seconds

    def _frames(self, pieces: Sequence[Slice]) -> Frames:
        """States on the way to the answer, and when each was reached."""
        states = [self.system.initial_guess(), *(piece.progress.x for piece in pieces)]
        return Frames(
            states=jax.tree.map(
                lambda *leaves: np.stack([np.asarray(x)[:, :FRAME_SAMPLES] for x in leaves]), *gathered(states)
            ),
            # A later state is not reached earlier: what says so was disturbed, and disturbances only ever add.
            time_s=np.minimum.accumulate([0.0, *(piece.seconds for piece in pieces)][::-1])[::-1],
            num_steps=np.asarray([0, *(int(piece.progress.num_steps) for piece in pieces)]),
            iterations=np.asarray([0, *(piece.iteration for piece in pieces)]),
        )


def _trace(trace: TraceRows, frames: Frames) -> dict[str, np.ndarray]:
    """Residual, frontier and error by step, over the batch; times from the frames, linear in between."""
    return {
        "num_steps": trace.num_steps,
        "time_s": np.interp(np.arange(1, len(trace.num_steps) + 1), frames.iterations, frames.time_s),
        "residual": trace.residual.max(axis=1),
        "frontier": trace.frontier.min(axis=1),
        "error": trace.error.max(axis=1),
        "error_mean": trace.error.mean(axis=1, dtype=float).astype(np.float32),
    }


@jax.jit
def _check_leaf(swept: Array, x: Array) -> tuple[Array, Array]:
    if jnp.issubdtype(x.dtype, jnp.inexact):
        distance = jnp.abs(swept - x)
        wrong = ~(distance <= MISMATCH)
    else:
        distance = jnp.abs(swept.astype(jnp.float32) - x.astype(jnp.float32))
        wrong = swept != x
    return jnp.max(distance, initial=0.0), jnp.sum(jnp.any(wrong.reshape(*wrong.shape[:2], -1), axis=-1))


def residual_and_mismatches(swept: Any, x: Any) -> tuple[float, int]:
    """Max |F(x) - x| and the number of equations (over the batch) that miss by more than MISMATCH."""
    checked = [_check_leaf(a, b) for a, b in zip(jax.tree.leaves(swept), jax.tree.leaves(x), strict=True)]
    return max(float(a) for a, _ in checked), sum(int(b) for _, b in checked)


def _roughness(x: Any, exact: Any) -> Roughness:
    leaves, exact_leaves = (list(map(np.asarray, jax.tree.leaves(tree))) for tree in (x, exact))
    _, wrong = residual_and_mismatches(x, exact)
    total = sum(math.prod(leaf.shape[:2]) for leaf in leaves)
    errors = [np.abs(_wide(a) - _wide(b)) for a, b in zip(leaves, exact_leaves, strict=True)]
    mean = sum(float(error.sum()) for error in errors) / max(1, sum(error.size for error in errors))
    return Roughness(wrong, wrong / max(1, total), mean)


def _wide(a: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """In double precision, integers as floats."""
    return a.astype(complex if np.iscomplexobj(a) else float)


def _distance(x: Any, reference: Any) -> float:
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(reference), strict=True)
    return max(float(_check_leaf(a, b)[0]) for a, b in pairs)
