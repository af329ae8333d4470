"""Put solvers in the place of ``auto``, keep what was decided, and say what was predicted beside what it took."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import jax
from rich.console import Console

import solvers
from common.files import write_atomically
from models.weights.downloads import user_cache
from runners.config.auto import Auto
from runners.config.schema import UsageError
from runners.config.solvers import SolverEntry
from runners.measure.job import Row
from runners.measure.layout import Layout
from runners.measure.processes import several
from runners.report.environment import describe_environment
from runners.report.table import Cells, Column, ResultTable
from runners.report.units import format_seconds
from solvers import Choice, PairingError, Solver, choose, kept_choice

Skip: TypeAlias = Callable[[Any, SolverEntry], str | None]  # why an entry is not run on a system; None where it is
FOLDER = "choices"  # in the folder that downloads go to


def decided(
    entries: Mapping[str, SolverEntry], system: Any, console: Console, skip: Skip = lambda system, entry: None
) -> dict[str, SolverEntry]:
    """The entries by label, a solver in the place of each ``auto``, with its choice.

    The solvers of other entries are candidates too, and no solver is that ``skip`` gives a reason against. Raises
    UsageError where none is left, and where several processes run, which would each choose for themselves.
    """
    others = [entry.solver for entry in entries.values() if entry.stop is None and entry.max_steps is None]
    listed = [solver for solver in others if not isinstance(solver, Auto)]

    def allowed(solver: Solver) -> bool:
        return skip(system, SolverEntry(solver)) is None

    return {
        label: _decided(entry, label, listed, allowed, system, console) if isinstance(entry.solver, Auto) else entry
        for label, entry in entries.items()
    }


def _decided(
    entry: SolverEntry,
    label: str,
    listed: Sequence[Solver],
    allowed: Callable[[Solver], bool],
    system: Any,
    console: Console,
) -> SolverEntry:
    """The entry with the solver that is best on ``system`` by what it asks for."""
    if several():
        raise UsageError(
            "solver auto runs in one process, which it measures: name a solver, or leave --coordinator out"
        )
    auto = entry.solver
    assert isinstance(auto, Auto)
    tol = auto.tol or None
    place = _place(auto, listed, system)
    choice = _kept(place, system, tol, listed)
    if choice is None or not allowed(choice.solver):
        with console.status(f"{label}: trying solvers") as status:
            try:
                choice = choose(
                    system,
                    objective=auto.objective,
                    tol=tol,
                    without=auto.without,
                    also=listed,
                    allowed=allowed,
                    budget_s=auto.budget_s,
                    tell=lambda candidate: status.update(f"{label}: trying {candidate}"),
                )
            except (PairingError, RuntimeError) as error:
                raise UsageError(f"solver {label}: {error}") from None
        _keep(place, choice)
    console.print(f"{label}: {choice.label}, chosen by {_how(choice)}", highlight=False)
    return dataclasses.replace(entry, solver=choice.solver, choice=choice)


def _how(choice: Choice) -> str:
    flown = sum(each.basis not in ("modelled", "swept") for each in choice.predictions)
    when = "an earlier run" if choice.pilot_s == 0 else f"{choice.pilot_s:.1f} s"
    return f"{flown} pilots of {len(choice.predictions)} candidates, in {when}"


def _place(auto: Auto, others: Sequence[Solver], system: Any) -> Path | None:
    """The file of a decision: of the system, its shapes, the candidates, the device and the versions."""
    folder = user_cache()
    if folder is None:
        return None
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda system: system, system))
    mesh = Layout.of(system).mesh
    environment = describe_environment({} if mesh is None else dict(mesh.shape))
    what = [
        type(system).__qualname__,
        re.sub(r" at 0x[0-9a-f]+", "", str(structure)),  # of functions, which lie elsewhere in every process
        [(str(leaf.shape), str(leaf.dtype)) for leaf in leaves],
        (auto, *others),
        {key: value for key, value in environment.items() if key != "git_commit"},
        solvers.__version__,
    ]
    return folder / FOLDER / f"{hashlib.sha256(repr(what).encode()).hexdigest()[:32]}.json"


def _kept(place: Path | None, system: Any, tol: float | None, others: Sequence[Solver]) -> Choice | None:
    """What an earlier run decided; None where there is nothing that can be read.

    What this run itself has decided is not taken for other systems of the same shapes, whose weights differ for sure.
    """
    if place is None:
        return None
    try:
        record = json.loads(place.read_text(encoding="utf-8"))
        if record["process"] == os.getpid():
            return None
        return kept_choice(record, system, tol=tol, also=others)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(place: Path | None, choice: Choice) -> None:
    """Keep a decision; where nothing can be written the next run decides anew."""
    if place is None:
        return
    try:
        write_atomically(place, json.dumps({**choice.record, "process": os.getpid()}).encode())
    except OSError:
        return


def prediction_tables(rows: Sequence[Row]) -> list[ResultTable]:
    """For each row whose solver was chosen, what was expected of all candidates, beside what those took that were run.

    A candidate was run where a row has the same solver.
    """
    return [_table(row, rows) for row in rows if row.entry.choice is not None]


def _table(chosen: Row, rows: Sequence[Row]) -> ResultTable:
    choice = chosen.entry.choice
    assert choice is not None
    taken = {row.entry.solver: row for row in rows if row is not chosen} | {choice.solver: chosen}
    found = [(each, taken.get(choice.candidates[each.label])) for each in choice.predictions]
    cells: Cells = (
        (Column("candidate", align="left"), lambda pair: pair[0].label),
        (Column("steps"), lambda pair: str(pair[0].num_steps)),
        (Column("took"), lambda pair: "-" if pair[1] is None else str(pair[1].num_steps)),
        (Column("time"), lambda pair: format_seconds(pair[0].time_s)),
        (Column("range", drop=1), lambda pair: " - ".join(format_seconds(s) for s in pair[0].time_range)),
        (Column("took"), lambda pair: "-" if pair[1] is None else format_seconds(pair[1].run_s.median)),
        (Column("known by", drop=2, align="left"), lambda pair: pair[0].basis),
    )
    return ResultTable.of(
        f"{chosen.label}: what was predicted, and what it took",
        cells,
        found,
        best=next(i for i, each in enumerate(choice.predictions) if each.label == choice.label),
        note=(
            f"* chosen for the least {choice.objective}; measured: run to its end in a pilot; swept: nothing but "
            "sweeps, which were counted and timed; extrapolated: from a part of its run; hurried: run by a program "
            "that was compiled in a hurry, so that its steps are known and its time is modelled; scouted: the same of "
            "a part of its steps; modelled: there was no time to try it, and it may be off by a factor of 3."
        ),
    )


def prediction_sentences(rows: Sequence[Row]) -> Iterator[str]:
    """What was chosen and predicted, and what it took, a line for each row whose solver was chosen."""
    for row in rows:
        choice = row.entry.choice
        if choice is not None:
            told = choice.prediction
            yield (
                f"{row.label} chose {choice.label}: {told.num_steps} steps in {format_seconds(told.time_s)} were "
                f"predicted ({told.basis}); it took {row.num_steps} steps in {format_seconds(row.run_s.median)}."
            )
