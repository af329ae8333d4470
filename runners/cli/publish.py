"""Bring what a run found to disk and eyes: the one place that writes results and prints them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.text import Text

from runners.cli.folder import RESULTS_FILE, staged
from runners.experiment import RunContext, RunFailure
from runners.report.console import TextConsole
from runners.report.environment import describe_environment
from runners.report.report import Artifact, Report

SCHEMA = 2  # of results.json: what its header holds, and that ``kind`` says which keys follow


def publish(report: Report, context: RunContext) -> None:
    """Write the results to ``context.out``, which keeps its old results until all of the new are there; print them.

    results.json and the arrays are written first. A picture that cannot be drawn is a warning; anything else that
    cannot be written, or was not because of Ctrl-C, is said once the results are in place, and then nothing is done
    afterwards. Raises RunFailure where there are results, and yet the run failed; KeyboardInterrupt where they are of a
    run that was interrupted, or some were not written for it.
    """
    with staged(context.out) as staging:
        failures, stopped = _write_all(report, staging.folder, context)
        place = staging.commit()
    _print(report, context, place)
    if not failures and stopped is None:
        for action in report.afterwards:
            action(place)
    interrupted = ["interrupted; the results are of what was done before"] if report.interrupted else []
    if stopped is not None:
        interrupted.append(stopped)
    failures = ([report.failure] if report.failure else []) + failures
    if interrupted:
        raise KeyboardInterrupt("; ".join(interrupted + failures))
    if failures:
        raise RunFailure("; ".join(failures))


def _write_all(report: Report, folder: Path, context: RunContext) -> tuple[list[str], str | None]:
    """Write everything into a folder, and at last which files there are.

    Returns what failed, and a sentence if Ctrl-C came. Then the artifacts are left unwritten, but not the rest, which
    took the computing: only a second Ctrl-C stops that.
    """
    arrays: dict[str, dict[str, Any]] = {name: dict(content) for name, content in report.arrays.items() if content}
    names = [artifact.name for artifact in report.artifacts]
    files = sorted([RESULTS_FILE, *arrays, *names])
    record = _header(report, context) | dict(report.record) | {"files": files}
    failures: list[str] = []
    try:
        _write_essentials(record, arrays, folder)
    except KeyboardInterrupt:
        _write_essentials(record, arrays, folder)
        unwritten = names
        stopped: str | None = "interrupted; the results are there"
    else:
        failures, unwritten = _write_artifacts(report.artifacts, folder, context)
        stopped = "interrupted; the results are there" if unwritten else None
    there = sorted(path.name for path in folder.iterdir())
    if there != files:  # only then, as a disk that is full has no room for it
        _write_json(folder / RESULTS_FILE, record | {"files": there})
    return failures, f"{stopped}, but not {', '.join(unwritten)}" if unwritten else stopped


def _write_essentials(record: Mapping[str, Any], arrays: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write what cannot be drawn again from something else: the record, and the arrays."""
    _write_json(folder / RESULTS_FILE, record)
    for name, content in arrays.items():
        np.savez_compressed(folder / name, **content)


def _write_artifacts(artifacts: Sequence[Artifact], folder: Path, context: RunContext) -> tuple[list[str], list[str]]:
    """Write artifacts until Ctrl-C; returns what failed, and the names of those that were not written for it."""
    failures: list[str] = []
    for i, artifact in enumerate(artifacts):
        try:
            failures += _write(artifact, folder, context)
        except KeyboardInterrupt:
            return failures, [unwritten.name for unwritten in artifacts[i:]]
    return failures, []


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as strict JSON; what JSON cannot say (NaN, infinity) becomes a string."""
    path.write_text(json.dumps(_strict(record), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _header(report: Report, context: RunContext) -> dict[str, Any]:
    """What every results.json begins with."""
    return {
        "schema": SCHEMA,
        "kind": report.kind,
        "name": context.name,
        "runner": context.runner,
        "config": dict(report.config),
        "seed": report.config["seed"],
        **describe_environment(report.mesh),
        "wall_s": time.perf_counter() - context.began,
    }


def _write(artifact: Artifact, folder: Path, context: RunContext) -> list[str]:
    """Write an artifact, whole or not at all; the sentence of its failure if the run fails with it."""
    before = set(folder.iterdir())
    try:
        artifact.write(folder)
    except BaseException as error:
        for path in set(folder.iterdir()) - before:
            path.unlink()  # half of it is nothing, and takes room
        if not isinstance(error, Exception):
            raise
        sentence = f"{artifact.name} could not be written: {' '.join(str(error).split()) or type(error).__name__}"
        if artifact.essential:
            return [sentence]
        context.console.print(Text(f"warning: {sentence}"), soft_wrap=True)
    return []


def _print(report: Report, context: RunContext, place: Path) -> None:
    """All tables at the terminal's width, what came out in words, and where the results are."""
    console = TextConsole()
    for table in report.tables:
        table.print(console, all_columns=context.all_columns)
    for sentence in report.sentences:
        console.print(Text(sentence), soft_wrap=True)
    asked, found = _shown(context.out), _shown(place)
    kept = "" if place == context.out.resolve() else f", as files of {asked} that no run wrote are kept"
    context.console.print(Text(f"results in {found}{kept}"), soft_wrap=True)


def _shown(path: Path) -> str:
    """A path as short as it can be said."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (OSError, ValueError):  # the current folder is gone, or it lies elsewhere
        return str(path)


def _strict(value: Any) -> Any:
    """The value with what JSON cannot say (NaN, infinity) as a string."""
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
