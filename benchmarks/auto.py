"""Hold what auto chooses against the best solver that each shipped config lists: python -m benchmarks.auto.

Every config is run by the program itself, with its own best solvers, auto, and auto without forward substitution. That
takes as long as the configs do, mostly a minute each.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.limits import FOLDER, Limit, print_limits
from common.files import write_atomically
from common.paths import CONFIGS, REFERENCE, ROOT
from runners.config.solvers import SolverEntry, labels, parse_entries, parse_entry
from runners.report.environment import describe_environment
from solvers.choosing.candidates import label_of
from solvers.choosing.prediction import HURRIED, MEASURED, SWEPT

SEQUENTIAL = ("sequential", "cached_sequential")
BUDGET_S = 20.0
_TIMED_S = 15.0
_MOST = 31  # runs of a solver, whose median counts
_WITHIN = 1.3  # a prediction of steps is good within this factor
_AUTOS: tuple[dict[str, Any], ...] = (
    {"name": "auto", "budget_s": BUDGET_S},
    {"name": "auto", "budget_s": BUDGET_S, "without": list(SEQUENTIAL)},
)


@dataclass(frozen=True)
class Found:
    """One choice on one system."""

    config: str
    withheld: bool  # forward substitution
    chosen: str
    seconds: float
    best: str  # of the config's solvers
    best_s: float
    pilot_s: float

    @property
    def ratio(self) -> float:
        """How many times the best solver's time the chosen one took; 1 where it is that solver.

        The clock may say otherwise of two runs of one program. Forward substitution is one whatever its tolerance.
        """
        chosen, best = (re.sub(r"tol=[^,()]*(, )?", "", label).replace("()", "") for label in (self.chosen, self.best))
        same = chosen.replace(", )", ")") == best.replace(", )", ")") and _is_forward(self.best)
        solved = math.isfinite(self.seconds)
        return 1.0 if solved and (same or self.chosen == self.best) else self.seconds / self.best_s


@dataclass(frozen=True)
class Told:
    """Steps that were predicted of a solver, and those that it took."""

    config: str
    solver: str
    basis: str
    predicted: int
    took: int

    @property
    def good(self) -> bool:
        """Whether they are near."""
        return max(self.predicted, self.took) <= _WITHIN * max(1, min(self.predicted, self.took))


@dataclass(frozen=True)
class Config:
    """What was found of one config, and where."""

    found: list[Found]
    told: list[Told]
    environment: Mapping[str, Any]


def _is_forward(label: str) -> bool:
    return label.startswith(("sequential", "cached_sequential", "segmented(solver=cached_sequential"))


def shipped() -> list[str]:
    """The configs that compare solvers by their times, and whose results are shipped."""
    return [path.parent.name for path in sorted(REFERENCE.glob("*/results.json")) if list(rows_of(_record(path)))]


def best_of(entries: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Of a config's entries the fastest in earlier results, and the fastest that is not forward substitution."""
    parsed = parse_entries(list(entries))
    taken = {row["label"]: row["run_s"]["median"] for row in rows if row["status"] == "converged"}
    known = [(taken[label], i) for i, label in enumerate(labels(parsed)) if label in taken]
    fast = [i for _, i in sorted(known)]
    others = [i for i in fast if parsed[i].inner_name not in SEQUENTIAL]
    return [entries[i] for i in sorted({*fast[:1], *others[:1]})]


def rows_of(record: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The lists of rows in a results.json, one for each system; before and after a training are two."""
    for value in record.values():
        if isinstance(value, list) and value and all(isinstance(row, dict) and "run_s" in row for row in value):
            phases = dict.fromkeys(row.get("phase") for row in value)
            yield from ([row for row in value if row.get("phase") == phase] for phase in phases)
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, dict):
                    yield from rows_of(each)


def repeats(entries: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> int:
    """How often each is timed: as often as the slowest in earlier results fits into ``_TIMED_S``, 1 to ``_MOST``."""
    taken = {row["label"]: row["run_s"]["median"] for row in rows if row["status"] == "converged"}
    slowest = max((taken.get(label, 0.0) for label in labels(parse_entries(list(entries)))), default=0.0)
    return _MOST if slowest == 0 else max(1, min(_MOST, round(_TIMED_S / slowest)))


def run(name: str, entries: Sequence[Any], count: int, folder: Path) -> dict[str, Any]:
    """The results of a config with other solvers, without what earlier runs have decided or compiled."""
    out, cache = folder / name, folder / f"{name}-cache"
    loosest = max(entry.solver.tol for entry in parse_entries(list(entries)))  # what the config is content with
    autos = [{**auto, "tol": loosest} for auto in _AUTOS]
    keys = yaml.safe_load((CONFIGS / f"{name}.yml").read_text(encoding="utf-8"))
    changes = [f"solvers={json.dumps([*entries, *autos])}"]
    changes += [f"{key}={value}" for key, value in (("repeats", count), ("trace", "false")) if key in keys]
    changes += [f"cells={json.dumps(choosing(keys['cells'], entries))}"] if "cells" in keys else []
    command = [sys.executable, "main.py", "--config", f"{name}.yml", "--out", str(out), "--set", *changes]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "TRISOLVE_CACHE": str(cache)}, capture_output=True, text=True
    )
    if not (out / "results.json").exists():
        raise RuntimeError(f"{name}: {done.stderr or done.stdout}")
    return _record(out / "results.json")


def choosing(cells: Mapping[str, Any], entries: Sequence[Any]) -> dict[str, Any]:
    """The cells of a config, where those that name their own solvers have auto among them, and none but ``entries``."""
    names = {entry.name for entry in parse_entries(list(entries))}
    wanted = {name: cell["solvers"] for name, cell in cells.items() if "solvers" in cell}
    own = {name: {"solvers": [*(each for each in labels if each in names), "auto"]} for name, labels in wanted.items()}
    return {name: {**cell, **own.get(name, {})} for name, cell in cells.items()}


def _record(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def found_in(name: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Found]:
    """What was chosen on one system, beside the best of the config's own solvers."""
    fixed = [row for row in rows if "choice" not in row and row["status"] == "converged"]
    for row in rows:
        if "choice" not in row:
            continue
        seconds = row["run_s"]["median"] if row["status"] == "converged" else math.inf
        withheld = "without=(" in row["label"] and "without=()" not in row["label"]
        allowed = [each for each in fixed if not (withheld and _entry(each).inner_name in SEQUENTIAL)]
        if allowed:
            best = min(allowed, key=lambda each: each["run_s"]["median"])
            yield Found(
                config=name,
                withheld=withheld,
                chosen=row["choice"]["solver"],
                seconds=seconds,
                best=label_of(_entry(best).solver),  # as candidates are called
                best_s=best["run_s"]["median"],
                pilot_s=row["choice"]["pilot_s"],
            )


def told_in(name: str, rows: Sequence[Mapping[str, Any]], also: Sequence[Mapping[str, Any]]) -> Iterator[Told]:
    """The steps that were predicted of solvers that were run: of ``rows``, and ``also`` of earlier ones."""
    choices = [row["choice"] for row in rows if "choice" in row]
    told = {each["label"]: each for choice in reversed(choices) for each in choice["predictions"]}
    done = {}
    for row in (*also, *rows):
        if row["status"] == "converged":
            done[label_of(_entry(row).solver)] = row["num_steps"]
    for label, took in done.items():
        if label in told:
            yield Told(name, label, told[label]["basis"], told[label]["num_steps"], took)


def _entry(row: Mapping[str, Any]) -> SolverEntry:
    return parse_entry({"name": row["solver"], **row["options"]})


def limits(found: Sequence[Found], told: Sequence[Told]) -> list[Limit]:
    """The figures that this benchmark is held against."""
    predicted = [each for each in told if each.basis not in (MEASURED, SWEPT, HURRIED)]
    whole, withheld = ([each.ratio for each in found if each.withheld is flag] for flag in (False, True))
    return [
        Limit(
            "auto's time, in times of the best listed solver's: the worst system", max(whole, default=math.inf), 1.15
        ),
        Limit("the same without forward substitution", max(withheld, default=math.inf), 1.15),
        Limit("seconds of the longest pilot", max((each.pilot_s for each in found), default=0.0), BUDGET_S),
        Limit("share of steps predicted within a factor of 1.3", _share(told), 0.9, at_least=True),
        Limit("the same, of solvers that were not run to their end", _share(predicted), 0.9, at_least=True),
    ]


def _share(told: Sequence[Told]) -> float:
    """How many of them are near; all, where there are none."""
    return sum(each.good for each in told) / len(told) if told else 1.0


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "configs",
        nargs="*",
        help="names of configs, of which others stay known; by default all that compare solvers",
    )
    options = parser.parse_args()
    known, failed = _known(), False
    console = Console(width=None if sys.stdout.isatty() else 160)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.configs or shipped():
            try:
                known[name] = _measured(name, Path(folder))
            except RuntimeError as error:  # the others are worth something without it
                console.print(str(error).strip())
                failed = True
                continue
            for each in known[name].found:
                console.print(f"{name}: {each.chosen} {each.ratio:.2f} x {each.best}, {each.pilot_s:.1f} s")
            _save(known)
    found, told = _all(known)
    held = limits(found, told)
    _print(console, found, told, held)
    return 0 if not failed and all(limit.met for limit in held) else 1


def _all(known: Mapping[str, Config]) -> tuple[list[Found], list[Told]]:
    """What was found of all configs."""
    return [each for one in known.values() for each in one.found], [each for one in known.values() for each in one.told]


def _measured(name: str, folder: Path) -> Config:
    """Run a config with its best solvers and with auto."""
    entries = yaml.safe_load((CONFIGS / f"{name}.yml").read_text(encoding="utf-8"))["solvers"]
    earlier = list(rows_of(_record(REFERENCE / name / "results.json")))
    best = [best_of(entries, rows) for rows in earlier]
    listed = [entry for entry in entries if any(entry in each for each in best)]
    found: list[Found] = []
    told: list[Told] = []
    for i, rows in enumerate(rows_of(run(name, listed, repeats(listed, earlier[0]), folder))):
        found += found_in(name, rows)
        told += told_in(name, rows, earlier[i] if i < len(earlier) else [])
    if not found:
        raise RuntimeError(f"{name}: auto has chosen nothing that its solvers could be held against")
    return Config(found, told, describe_environment())


def _known() -> dict[str, Config]:
    """What earlier runs of this benchmark have found, by config."""
    if not (FOLDER / "auto.json").exists():
        return {}
    return {
        name: Config(
            [Found(**{key: each[key] for key in Found.__dataclass_fields__}) for each in one["found"]],
            [Told(**{key: each[key] for key in Told.__dataclass_fields__}) for each in one["told"]],
            one["environment"],
        )
        for name, one in _record(FOLDER / "auto.json")["configs"].items()
    }


def _save(known: Mapping[str, Config]) -> None:
    """Write what is known by now: a run that is cut short, or of some configs, loses nothing."""
    configs = {
        name: {
            "environment": dict(one.environment),
            "found": [{**asdict(each), "ratio": each.ratio} for each in one.found],
            "told": [{**asdict(each), "good": each.good} for each in one.told],
        }
        for name, one in sorted(known.items())
    }
    held = [{**asdict(limit), "met": limit.met} for limit in limits(*_all(known))]
    record = {"benchmark": "auto", **describe_environment(), "configs": configs, "limits": held}
    write_atomically(FOLDER / "auto.json", (json.dumps(record, indent=2) + "\n").encode())


def _print(console: Console, found: Sequence[Found], told: Sequence[Told], held: Sequence[Limit]) -> None:
    table = Table("config", "withheld", "chosen", "time, ms", "best listed", "time, ms", "ratio", "pilot, s")
    for each in found:
        times = (f"{1e3 * each.seconds:.3g}", each.best, f"{1e3 * each.best_s:.3g}")
        withheld = "forward" if each.withheld else ""
        table.add_row(each.config, withheld, each.chosen, *times, f"{each.ratio:.2f}", f"{each.pilot_s:.1f}")
    console.print(table)
    for miss in told:
        if not miss.good:
            console.print(f"{miss.config}: {miss.solver}: {miss.predicted} steps {miss.basis}, took {miss.took}")
    print_limits(console, held)


if __name__ == "__main__":
    sys.exit(main())
