"""Run a list of solvers on one system and measure each: the heart of every sampler's experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from rich.console import Console

from runners.config.solvers import SolverEntry
from runners.measure.job import Job, Plan, Row
from runners.measure.progress import SolveProgress
from runners.measure.timing import Times, time_calls
from solvers import Status


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
            base = [other for other in self.rows if other.entry.inner_name == name and other.status is Status.CONVERGED]
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
    """Solve ``system`` with every entry: a warm-up run, ``repeats`` timed runs, and with ``trace`` one or two more.

    Entries may have ``repeats`` and ``trace`` of their own. A run of more than 20 s counts though it is the first:
    compiling is apart from it, and what else a first run is slowed by takes a tenth of a second.

    The reference for errors is the naive sequential solution, or the cached one where that is not in the list, or else
    the first entry's.
    """
    entries = [entry.resolved(system) for entry in entries]
    sweep = jax.jit(lambda system, x: system.sweep(x)).lower(system, system.initial_guess()).compile()
    guess = system.initial_guess()
    sweep_s = time_calls(lambda: sweep(system, guess), max(50, repeats))
    names = [entry.inner_name for entry in entries]
    first = next((names.index(name) for name in ("sequential", "cached_sequential") if name in names), 0)
    order = [first] + [i for i in range(len(entries)) if i != first]
    reference: Any = None
    rows: dict[int, Row] = {}
    plans = [Plan.of(entry, repeats, trace) for entry in entries]
    stages = {label: plan.stages for label, plan in zip(labels, plans, strict=True)}
    with SolveProgress(console, stages) as progress:
        for i in order:
            job = Job(system, entries[i], labels[i], plans[i], time_limit_s, progress)
            solution = job.measure()
            reference = solution.value if reference is None else reference
            rows[i] = job.row(sweep, solution, reference)
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
