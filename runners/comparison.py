"""Run a list of solvers on one system and measure each: the heart of every sampler's experiment."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped
from rich.console import Console

from runners.progress import SolveProgress
from runners.solver_entry import SolverEntry
from runners.timing import CompiledSolve, Slice, Times, time_calls
from solvers import Solution, Status, TraceOptions

MISMATCH = 1e-3  # an equation whose value is further than this from the reference sweep's counts as mismatched
FRAMES = 40  # how many intermediate states are kept of each solve
FRAME_SAMPLES = 16
UNSTOPPED_S = 0.4


@dataclass(frozen=True)
class Frames:
    """A solve as it went: states of the first samples (F, T, N, ...), and the measured time and steps of each."""

    states: np.ndarray
    time_s: np.ndarray
    num_steps: np.ndarray
    iterations: np.ndarray


@dataclass(frozen=True)
class Row:
    """One solver's results."""

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


@dataclass(frozen=True)
class Comparison:
    """All rows, and what they share."""

    num_equations: int
    batch_size: int
    sweep_s: Times
    sweep_flops: float | None
    rows: list[Row]
    reference: Any  # the state that errors are measured against
    reference_label: str
    speedups: dict[str, dict[str, float | None]] = field(init=False)

    def __post_init__(self) -> None:
        """Work out each row's speed-up over the two sequential baselines, where they were run and converged."""
        object.__setattr__(self, "speedups", {row.label: self._speedups(row) for row in self.rows})

    @property
    def best(self) -> Row | None:
        """The fastest row that converged."""
        done = [row for row in self.rows if row.status is Status.CONVERGED]
        return min(done, key=lambda row: row.run_s.median, default=None)

    def _speedups(self, row: Row) -> dict[str, float | None]:
        result: dict[str, float | None] = {}
        for key, name in (("speedup_vs_sequential", "sequential"), ("speedup_vs_cached", "cached_sequential")):
            base = [other for other in self.rows if other.entry.name == name and other.status is Status.CONVERGED]
            fair = base and row.status is Status.CONVERGED
            result[key] = min(other.run_s.median for other in base) / row.run_s.median if fair else None
        return result


def compare_solvers(
    system: Any,
    entries: Sequence[SolverEntry],
    labels: Sequence[str],
    *,
    repeats: int,
    time_limit_s: float | None,
    trace: bool,
    console: Console,
) -> Comparison:
    """Solve ``system`` with every entry: a warm-up run, ``repeats`` timed runs, and with ``trace`` two more.

    The reference for errors is the naive sequential solution, or the cached one where that is not in the list, or else
    the first entry's.
    """
    sweep = jax.jit(lambda system, x: system.sweep(x)).lower(system, system.initial_guess()).compile()
    guess = system.initial_guess()
    sweep_s = time_calls(lambda: sweep(system, guess), max(50, repeats))
    names = [entry.name for entry in entries]
    first = next((names.index(name) for name in ("sequential", "cached_sequential") if name in names), 0)
    order = [first] + [i for i in range(len(entries)) if i != first]
    reference: Any = None
    rows: dict[int, Row] = {}
    with SolveProgress(console, list(labels), repeats, trace) as progress:
        for i in order:
            job = _Job(system, entries[i], labels[i], repeats, time_limit_s, progress)
            solution = job.measure()
            reference = solution.value if reference is None else reference
            rows[i] = job.row(sweep, solution, reference, trace)
    leaf = jax.tree.leaves(guess)[0]
    return Comparison(
        num_equations=system.num_equations,
        batch_size=int(leaf.shape[1]),
        sweep_s=sweep_s,
        sweep_flops=_flops(sweep),
        rows=[rows[i] for i in range(len(entries))],
        reference=reference,
        reference_label=labels[first],
    )


class _Job:
    """One solver's runs."""

    def __init__(
        self,
        system: Any,
        entry: SolverEntry,
        label: str,
        repeats: int,
        time_limit_s: float | None,
        progress: SolveProgress,
    ) -> None:
        self.system, self.entry, self.label = system, entry, label
        self.repeats, self.time_limit_s, self.progress = repeats, time_limit_s, progress
        progress.stage(label, "compiling")
        self.compiled = CompiledSolve(system, entry.solver, max_steps=entry.max_steps)

    def measure(self) -> Solution[Any]:
        """Warm up, then time."""
        solution, _ = self._run("warming up")
        seconds = []
        for i in range(self.repeats):
            solution, took = self._run(f"run {i + 1}/{self.repeats}")
            seconds.append(took)
        self.run_s = Times.of(seconds)
        return solution

    def row(self, sweep: Any, solution: Solution[Any], reference: Any, trace: bool) -> Row:
        """Everything measured, and with ``trace`` what a traced run and a sliced one add."""
        stats = solution.stats
        residual, mismatched = _check(sweep(self.system, solution.value), solution.value)
        frames = self._frames(int(stats.num_iterations)) if trace else None
        return Row(
            label=self.label,
            entry=self.entry,
            status=solution.outcome,
            num_steps=int(stats.num_steps),
            num_iterations=int(stats.num_iterations),
            sweep_equivalents=float(stats.sweep_equivalents),
            guess_resets=int(stats.guess_resets),
            steps_to_convergence=np.asarray(stats.steps_to_convergence).tolist(),
            compile_s=self.compiled.compile_s,
            run_s=self.run_s,
            max_residual=residual,
            mismatched_equations=mismatched,
            max_abs_error=_distance(solution.value, reference),
            peak_memory_bytes=self.compiled.peak_memory_bytes(),
            trace=None if frames is None else self._trace(reference, frames),
            frames=frames,
        )

    def _run(self, stage: str) -> tuple[Solution[Any], float]:
        self.progress.stage(self.label, stage)
        return self.compiled.run(
            lambda s: self.progress.at(self.label, int(s.progress.frontier.min()), self.system.num_equations),
            self.time_limit_s,
        )

    def _frames(self, iterations: int) -> Frames:
        """States on the way to the answer, and when each was reached."""
        self.progress.stage(self.label, "frames")
        pieces = list(self._pieces(iterations))  # looked at afterwards: work between slices slows the next one
        states = [self.system.initial_guess(), *(piece.progress.x for piece in pieces)]
        return Frames(
            states=np.stack([np.asarray(x)[:, :FRAME_SAMPLES] for x in states]),
            # A later state is not reached earlier: what says so was disturbed, and disturbances only ever add.
            time_s=np.minimum.accumulate([0.0, *(piece.seconds for piece in pieces)][::-1])[::-1],
            num_steps=np.asarray([0, *(int(piece.progress.num_steps) for piece in pieces)]),
            iterations=np.asarray([0, *(piece.iteration for piece in pieces)]),
        )

    def _pieces(self, iterations: int) -> Iterator[Slice]:
        """A stop costs up to a millisecond, so a short run is not stopped but begun anew for every frame."""
        every = max(1, math.ceil(iterations / FRAMES))
        if self.run_s.median < UNSTOPPED_S:
            yield from (self.compiled.until(steps) for steps in range(every, iterations + every, every))
            return
        for piece in self.compiled.slices(every):
            yield piece
            if self.time_limit_s is not None and piece.seconds > self.time_limit_s:
                return

    def _trace(self, reference: Any, frames: Frames) -> dict[str, np.ndarray]:
        """Residual, frontier and error by step from a traced run; times from the sliced one, linear within a slice."""
        self.progress.stage(self.label, "trace")
        traced = CompiledSolve(
            self.system, self.entry.solver, max_steps=self.entry.max_steps, trace=TraceOptions(reference)
        )
        solution, _ = traced.run(time_limit_s=self.time_limit_s)
        count = int(solution.stats.num_iterations)
        trace: Any = jax.tree.map(lambda a: np.asarray(a)[:count], solution.trace)
        per_sample: Shaped[np.ndarray, "S B"] = trace.error
        return {
            "num_steps": trace.num_steps,
            "time_s": np.interp(np.arange(1, count + 1), frames.iterations, frames.time_s),
            "residual": trace.residual.max(axis=1),
            "frontier": trace.frontier.min(axis=1),
            "error": per_sample.max(axis=1),
            "error_mean": per_sample.mean(axis=1),
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


def _check(swept: Any, x: Any) -> tuple[float, int]:
    """Max |F(x) - x| and the number of equations (over the batch) that miss by more than MISMATCH."""
    checked = [_check_leaf(a, b) for a, b in zip(jax.tree.leaves(swept), jax.tree.leaves(x), strict=True)]
    return max(float(a) for a, _ in checked), sum(int(b) for _, b in checked)


def _distance(x: Any, reference: Any) -> float:
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(reference), strict=True)
    return max(float(_check_leaf(a, b)[0]) for a, b in pairs)


def _flops(compiled: Any) -> float | None:
    analysis = compiled.cost_analysis()
    flops = (analysis or {}).get("flops")
    return None if flops is None else float(flops)


def row_record(row: Row, comparison: Comparison) -> dict[str, Any]:
    """A row as results.json holds it."""
    return {
        "solver": row.entry.name,
        "label": row.label,
        "options": row.entry.options,
        "status": row.status.label,
        "num_steps": row.num_steps,
        "num_iterations": row.num_iterations,
        "sweep_equivalents": row.sweep_equivalents,
        "guess_resets": row.guess_resets,
        "steps_to_convergence": row.steps_to_convergence,
        "compile_s": row.compile_s,
        "run_s": dataclasses.asdict(row.run_s),
        **comparison.speedups[row.label],
        "max_residual": row.max_residual,
        "mismatched_equations": row.mismatched_equations,
        "max_abs_error": row.max_abs_error,
        "peak_memory_bytes": row.peak_memory_bytes,
    }
