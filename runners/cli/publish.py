"""Bring what a run found to disk and eyes: the one place that writes results and prints them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from common.files import replaced_folder
from runners.experiment import RunContext, RunFailure
from runners.report.environment import describe_environment
from runners.report.report import Artifact, Report

SCHEMA = 2  # of results.json: what its header holds, and that ``kind`` says which keys follow


def publish(report: Report, context: RunContext) -> None:
    """Write the results to ``context.out``, which keeps its old content until all of the new is there, and print them.

    results.json and the arrays are written first. A picture that cannot be drawn is a warning; anything else that
    cannot be written is said once the results are in place, and then nothing is done afterwards. Raises RunFailure
    where there are results, and yet the run failed.
    """
    with replaced_folder(context.out) as folder:
        record = _strict(_header(report, context) | dict(report.record))
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        (folder / "results.json").write_text(text, encoding="utf-8")
        for name, arrays in report.arrays.items():
            if arrays:
                content: dict[str, Any] = dict(arrays)
                np.savez_compressed(folder / name, **content)
        failures = [failure for artifact in report.artifacts if (failure := _write(artifact, folder, context))]
    _print(report, context)
    if not failures:
        for action in report.afterwards:
            action()
    failures = ([report.failure] if report.failure else []) + failures
    if failures:
        raise RunFailure("; ".join(failures))


def _header(report: Report, context: RunContext) -> dict[str, Any]:
    """What every results.json begins with."""
    return {
        "schema": SCHEMA,
        "kind": report.kind,
        "name": context.name,
        "runner": context.runner,
        "config": dict(report.config),
        "seed": report.config["seed"],
        **describe_environment(),
    }


def _write(artifact: Artifact, folder: Path, context: RunContext) -> str | None:
    """Write an artifact; the sentence of its failure if the run fails with it."""
    try:
        artifact.write(folder)
    except Exception as error:
        sentence = f"{artifact.name} could not be written: {' '.join(str(error).split()) or type(error).__name__}"
        if artifact.essential:
            return sentence
        context.console.print(Text(f"warning: {sentence}"), soft_wrap=True)
    return None


def _print(report: Report, context: RunContext) -> None:
    """All tables at the terminal's width, what came out in words, and where the results are."""
    console = Console(highlight=False, markup=False)
    for table in report.tables:
        table.print(console, all_columns=context.all_columns)
    for sentence in report.sentences:
        console.print(Text(sentence), soft_wrap=True)
    out, here = context.out.resolve(), Path.cwd()
    shown = out.relative_to(here) if out.is_relative_to(here) else context.out
    context.console.print(Text(f"results in {shown}"), soft_wrap=True)


def _strict(value: Any) -> Any:
    """The value with what JSON cannot say (NaN, infinity) as a string."""
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
