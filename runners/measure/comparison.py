"""Run a list of solvers on one system, measure each and say it in a table: the heart of what compares solvers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from rich.console import Console

from common.errors import UserError
from runners.config.solvers import SolverEntry
from runners.measure.chain import chain_of
from runners.measure.choosing import Skip, decided, prediction_sentences
from runners.measure.interrupt import KeepingDone
from runners.measure.job import MISMATCH, Job, Plan, Row
from runners.measure.layout import Layout
from runners.measure.processes import gathered, several
from runners.measure.progress import SolveProgress
from runners.measure.timing import Times, time_calls
from runners.report.table import Cells, Column, ResultTable
from runners.report.units import format_seconds
from solvers import Status
from solvers.equations import batch_size

SHORT_S = 0.1  # runs shorter than this are timed in turn: what disturbs one may last longer than all of them
NAIVE_LENGTH = 2_000  # the equations up to which naive sequential evaluation is run, where a config does not say

# What errors are measured against, the first of these that is among the solvers.
REFERENCES = ("sequential", "cached_sequential")
_WITHOUT = "num_steps_without_guess"  # the key of a row
# By the key of a row, the baseline that its time is held against.
_BASELINES = {"speedup_vs_sequential": "sequential", "speedup_vs_cached": "cached_sequential"}


@dataclass(frozen=True)
class Skipped:
    """A solver that was not run."""

    label: str
    entry: SolverEntry
    reason: str

    @property
    def record(self) -> dict[str, str]:
        """As results.json holds it."""
        return {"solver": self.entry.name, "label": self.label, "reason": self.reason}

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"{self.label} was left out: {self.reason}"


@dataclass(frozen=True)
class Comparison:
    """All rows, and what they share."""

    num_equations: int
    batch_size: int
    sweep_s: Times
    sweep_flops: float | None
    rows: list[Row]
    skipped: list[Skipped]
    reference: Any  # the state that errors are measured against
    reference_label: str
    failure: str | None = None  # what kept solvers from being measured that should have been
    interrupted: bool = False  # by Ctrl-C: the rows are of the solvers that were done
    guessed: bool = False  # whether solvers were tried without the system's guesses too

    @property
    def best(self) -> Row | None:
        """The fastest row that converged."""
        done = [row for row in self.rows if row.status is Status.CONVERGED]
        return min(done, key=lambda row: row.run_s.median, default=None)

    @property
    def fastest(self) -> str | None:
        """The label of the best row, if there is one."""
        return self.best.label if self.best else None

    @property
    def complaint(self) -> str | None:
        """Why the run failed: a solver was not measured, did not converge, or not to an answer of the system's."""
        if self.failure is not None:
            return self.failure
        for row in self.rows:
            if row.status.is_failure:
                return f"{row.label}: {row.status.sentence}"
            precise = row.status is Status.CONVERGED and row.entry.solver.tol <= MISMATCH  # else it is to be rough
            if precise and row.mismatched_equations:
                return (
                    f"{row.label}: the solver converged, but {row.mismatched_equations} equations differ from the "
                    "reference sweep; the model's blocks or caches do not agree with its sweep (see check_system)"
                )
        return None

    @property
    def sentences(self) -> list[str]:
        """What was left out, what solvers lack that stopped on purpose, and what was chosen."""
        stopped = [
            f"{row.label}: {row.status.sentence} {row.roughness.sentence}"
            for row in self.rows
            if row.roughness is not None and row.status is Status.STOPPED
        ]
        return [*(skipped.sentence for skipped in self.skipped), *stopped, *prediction_sentences(self.rows)]

    def record(self, row: Row) -> dict[str, Any]:
        """A row as results.json holds it.

        It has its speed-up over each of the two sequential baselines; None unless both were run and converged.
        """
        without = {_WITHOUT: row.num_steps_without_guess} if self.guessed else {}
        chain = chain_of(row.entry.solver, self.num_equations)
        return row.record | without | chain | {key: self._speedup(row, name) for key, name in _BASELINES.items()}

    @property
    def system_record(self) -> dict[str, Any]:
        """The system's size and the cost of one sweep as results.json holds them."""
        return {
            "num_equations": self.num_equations,
            "batch_size": self.batch_size,
            "sweep_s": dataclasses.asdict(self.sweep_s),
            "sweep_flops": self.sweep_flops,
        }

    def _speedup(self, row: Row, baseline: str) -> float | None:
        bases = [each for each in self.rows if each.entry.inner_name == baseline and each.status is Status.CONVERGED]
        if not bases or row.status is not Status.CONVERGED:
            return None
        return min(base.run_s.median for base in bases) / row.run_s.median


def compare_solvers(
    system: Any,
    entries: Mapping[str, SolverEntry],
    *,
    repeats: int,
    time_limit_s: float | None,
    trace: bool,
    console: Console,
    skip: Skip = lambda system, entry: None,
    references: Sequence[str] = REFERENCES,
    job: type[Job] = Job,
    without_guesses: Any = None,
) -> Comparison:
    """Solve ``system`` with every entry, by label: a run to warm up, ``repeats`` timed runs, and with ``trace`` more.

    Entries may have ``repeats`` and ``trace`` of their own. A run of more than 20 s counts though it is the first:
    compiling is apart from it, and what else a first run is slowed by takes a tenth of a second. Solvers whose runs are
    short are timed again in turn at the end, and these times count.

    The rows that are done are kept where a solver fails for want of memory, and on Ctrl-C; what was left out is then in
    ``skipped``. Where there is no row yet the error is raised all the same.

    Args:
        system: what to solve.
        entries: the solvers; the rows come in their order.
        repeats: how many runs of each are timed.
        time_limit_s: for each run.
        trace: whether the way to the answer is followed.
        console: where progress is shown.
        skip: tells why an entry is not run on this system.
        references: names of solvers. Errors are measured against the solution of the first that is run, which is run
            before all others; where none is, against that of the first entry. One that stops on purpose is none.
        job: how a solver is measured and followed.
        without_guesses: the same equations without the guesses of ``system``. Sequential solvers, to which guesses do
            not matter, are run on them, and the steps of all others are counted on them too.
    """
    chosen, skipped = split_entries(system, entries, skip)
    chosen = {label: entry.resolved(system) for label, entry in decided(chosen, system, console, skip).items()}
    plain = system if without_guesses is None else without_guesses
    guess = Layout.of(plain).guess(plain)
    sweep = jax.jit(lambda system, x: system.sweep(x)).lower(plain, guess).compile()
    sweep_s = time_calls(lambda: sweep(plain, guess), max(50, repeats))
    first = _first(chosen, references)
    plans = {label: Plan.of(entry, repeats, trace) for label, entry in chosen.items()}
    rows: dict[str, Row] = {}
    reference: Any = None
    failed: dict[str, str] = {}
    short: dict[str, Job] = {}  # with their programs, which others leave when they are done
    with (
        SolveProgress(
            console, {label: plan.stages + (without_guesses is not None) for label, plan in plans.items()}
        ) as progress,
        KeepingDone(rows) as run,
    ):
        for label in sorted(chosen, key=lambda label: label != first):
            try:
                guessing = without_guesses is not None and chosen[label].inner_name not in REFERENCES
                measured = job(
                    system if guessing else plain, chosen[label], label, plans[label], time_limit_s, progress
                )
                solution = measured.measure()
                reference = solution.value if reference is None else reference
                rows[label] = measured.row(partial(sweep, plain), solution, reference)
                if measured.run_s.median < SHORT_S:
                    short[label] = measured
                if guessing:
                    steps = measured.steps_on(plain)
                    rows[label] = dataclasses.replace(rows[label], num_steps_without_guess=steps)
            except (MemoryError, RuntimeError, UserError) as error:
                if not rows or several():  # others may not have failed, and would wait for this one in the next solve
                    raise
                failed[label] = " ".join(str(error).split()) or "the memory ran out"
        progress.finish()
        for label, run_s in _timed_in_turn(short).items():
            rows[label] = dataclasses.replace(rows[label], run_s=run_s)
    missing = {label: failed.get(label, "the run was interrupted") for label in chosen if label not in rows}
    return Comparison(
        num_equations=system.num_equations,
        batch_size=batch_size(guess),
        sweep_s=sweep_s,
        sweep_flops=_flops(sweep),
        rows=[rows[label] for label in chosen if label in rows],
        skipped=skipped + [Skipped(label, chosen[label], reason) for label, reason in missing.items()],
        reference=gathered(reference),
        reference_label=first,
        failure="; ".join(f"{label}: {reason}" for label, reason in failed.items()) or None,
        interrupted=run.interrupted,
        guessed=without_guesses is not None,
    )


def _timed_in_turn(jobs: Mapping[str, Job]) -> dict[str, Times]:
    """Times of runs that take turns, so that a slow moment is not one solver's: as many as were timed of each before.

    In each turn a solver runs twice and the second run counts, as the first finds the caches full of another's values.
    Of a single solver there are none; nor where one fails that went well before: the times that were measured then
    stand.
    """
    seconds: dict[str, list[float]] = {label: [] for label in jobs}
    if len(jobs) < 2:
        return {}
    try:
        for i in range(max(job.run_s.n for job in jobs.values())):
            for label, job in jobs.items():
                if i < job.run_s.n:
                    job.run_again()
                    seconds[label].append(job.run_again())
    except (MemoryError, RuntimeError):
        if several():  # others may not have failed, and would wait for this one
            raise
        return {}
    return {label: Times.of(taken) for label, taken in seconds.items()}


def _first(entries: Mapping[str, SolverEntry], references: Sequence[str]) -> str:
    """The label of the entry that errors are measured against."""
    exact = [label for label, entry in entries.items() if entry.stop is None]
    for name in references:
        for label in exact:
            if entries[label].inner_name == name:
                return label
    return exact[0]


def _flops(compiled: Any) -> float | None:
    analysis = compiled.cost_analysis()
    flops = (analysis or {}).get("flops")
    return None if flops is None else float(flops)


def split_entries(
    system: Any, entries: Mapping[str, SolverEntry], skip: Skip
) -> tuple[dict[str, SolverEntry], list[Skipped]]:
    """The entries by label that are run on ``system``, and those that are not."""
    reasons = {label: skip(system, entry) for label, entry in entries.items()}
    kept = {label: entry for label, entry in entries.items() if reasons[label] is None}
    return kept, [Skipped(label, entries[label], reason) for label, reason in reasons.items() if reason is not None]


def too_long(system: Any, entry: SolverEntry, max_length: int) -> str | None:
    """Why naive sequential evaluation is not run on so long a system; None for other solvers and shorter systems."""
    length = system.num_equations
    if entry.name != "sequential" or length <= max_length:
        return None
    return (
        f"naive sequential evaluation computes all T equations T times, here {length**2:,} of each sample; it is left "
        f"out above T = {max_length:,} (sequential_max_length)"
    )


# The numbers say which column makes room first where the console is narrow.
_CELLS: Cells = (
    (Column("solver", align="left"), lambda row: row["label"]),
    (Column("status", drop=8, align="left"), lambda row: row["status"]),
    (Column("steps"), lambda row: str(row["num_steps"])),
    (Column("sweeps", drop=4), lambda row: f"{row['sweep_equivalents']:.1f}"),
    (Column("time"), lambda row: format_seconds(row["run_s"]["median"])),
    (Column("quartiles", drop=3), lambda row: " - ".join(format_seconds(row["run_s"][key]) for key in ("q1", "q3"))),
    (Column("vs naive", drop=5), lambda row: _factor(row["speedup_vs_sequential"])),
    (Column("vs cached", drop=9), lambda row: _factor(row["speedup_vs_cached"])),
    (Column("residual", drop=7), lambda row: _error(row["max_residual"])),
    (Column("mismatched", drop=6), lambda row: str(row["mismatched_equations"])),
    (Column("error"), lambda row: _error(row["max_abs_error"])),
    (Column("memory", drop=2), lambda row: _memory(row["peak_memory_bytes"])),
    (Column("compile", drop=1), lambda row: format_seconds(row["compile_s"])),
)


def comparison_table(comparison: Comparison, title: str) -> ResultTable:
    """All rows, the fastest converged one marked."""
    without: Cells = ((Column("unguessed"), lambda row: _steps(row[_WITHOUT])),) if comparison.guessed else ()
    explained = "; unguessed: steps without the guess" if comparison.guessed else ""
    rough: Cells = ()
    if any(row.roughness is not None for row in comparison.rows):
        rough = ((Column("wrong"), lambda row: _share(row.get("roughness"))),)
        explained += "; wrong: share of equations off by more than 0.001, of solvers that are stopped on purpose"
    return ResultTable.of(
        title,
        (*_CELLS[:3], *without, *_CELLS[3:], *rough),
        [comparison.record(row) for row in comparison.rows],
        best=next((i for i, row in enumerate(comparison.rows) if row is comparison.best), None),
        note=(
            f"T = {comparison.num_equations} equations, batch {comparison.batch_size}; one sweep takes "
            f"{format_seconds(comparison.sweep_s.median)}. * fastest that converged; steps: sequential network "
            "evaluations; sweeps: work in full sweeps; residual: max |F(x) - x|; mismatched: equations off by more "
            f"than 0.001; error: against {comparison.reference_label}{explained}."
        ),
    )


def _steps(steps: int | None) -> str:
    return "-" if steps is None else str(steps)


def _share(roughness: Mapping[str, Any] | None) -> str:
    return "-" if roughness is None else f"{roughness['wrong_share']:.1%}"


def _factor(factor: float | None) -> str:
    return "-" if factor is None else f"{factor:.1f}x" if factor >= 10 else f"{factor:.2f}x"


def _error(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _memory(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:.1f} MiB"
