"""The tables of accelerators: what a step launches, what was timed, and which limits are met."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from common.paths import ROOT
from docs.tools.results import converged, markdown
from runners.report.units import format_seconds

# What benchmarks/accelerator.json calls by a short name; other systems have the names of their configs.
TITLES = {
    "made": "MADE, 784 pixels, batch 100",
    "pixelcnnpp": "PixelCNN++, 784 pixels, batch 16",
    "wavenet": "WaveNet, 2 x 14 layers, 2,000 samples",
    "densenet201": "DenseNet-201, one photograph",
    "gru": "GRU of 8 units, 10,000 steps, batch 16",
}
ON_BOTH = ("H100", "A100")
Row = Mapping[str, Any]


def record() -> dict[str, Any]:
    """The results of the benchmark."""
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "accelerator.json").read_text())
    return found


def on_gpu() -> str:
    """Times of whole solves on a GPU beside the same solve with a cache."""
    lines = []
    for device, found in record()["measured"].items():
        for system, rows in _by_system(found["rows"]).items():
            parallel = {solver: row for solver, row in rows.items() if "sequential" not in solver}
            if not parallel or "cached_sequential" not in rows:
                continue
            cached = rows["cached_sequential"]["solve_s"]
            best = min(parallel, key=lambda solver: parallel[solver]["solve_s"])
            time, steps = parallel[best]["solve_s"], parallel[best]["iterations"]
            shown = (f"`{best}`", str(steps), format_seconds(time), format_seconds(cached), f"{cached / time:.3g}x")
            lines.append([_title(system), device, *shown])
    header = ["system", "GPU", "fastest parallel solver", "steps", "its time", "time with a cache", "speed-up"]
    return markdown(header, lines)


def timed() -> str:
    """Every solve that was timed on a GPU, and what the model says of its iterations."""
    found = record()
    lines = []
    for device, measured in found["measured"].items():
        model: Mapping[str, Row] = next(
            (found[gpu]["rows"] for gpu in ON_BOTH if device == _description(found[gpu])), {}
        )
        for system, rows in _by_system(measured["rows"]).items():
            for solver, row in rows.items():
                modelled = model.get(f"{system}, {solver}")
                shown = (format_seconds(row["solve_s"]), str(row["iterations"]), format_seconds(row["step_s"]))
                told = format_seconds(modelled["modelled_step_s"]) if modelled else ""
                lines.append([_title(system), f"`{solver}`", *shown, told])
    return markdown(["system", "solver", "a solve", "iterations", "an iteration", "the model"], lines)


def launched() -> str:
    """What a step of each solver launches, and modelled times of a step and of a solve."""
    first, second = (record()[gpu]["rows"] for gpu in ON_BOTH)
    rows = sorted(first.items(), key=lambda item: _place(item[1]["system"]))
    facts = ["round trips", "GFLOP", "MiB of temporaries"]
    kernels, steps = [f"kernels, {gpu}" for gpu in ON_BOTH], [f"a step, {gpu}: a model" for gpu in ON_BOTH]
    header = ["system", "solver", *kernels, *facts, *steps, "a solve, H100: a model", "a solve, published"]
    table = markdown(header, [_line(row, second.get(name)) for name, row in rows])
    missing = {gpu: ", ".join(f"`{name}`" for name in record()[gpu]["not_counted"]) for gpu in ON_BOTH}
    return table + "".join(
        f"\nNot compiled for the {gpu} so far: {names}.\n" for gpu, names in missing.items() if names
    )


def _line(row: Row, other: Row | None) -> list[str]:
    """A row of one GPU, beside the same of another where that is known."""
    taken, published = _iterations(row), row["published_solve_s"]
    return [
        _title(row["system"]),
        f"`{row['solver']}`",
        _kernels(row),
        "" if other is None else _kernels(other),
        str(row["round_trips"]),
        f"{'' if row['flops_whole'] else '≥ '}{row['flops'] / 1e9:.2g}",
        f"{row['temporaries_bytes'] / 2**20:.3g}",
        format_seconds(row["modelled_step_s"]),
        "" if other is None else format_seconds(other["modelled_step_s"]),
        "" if taken is None else format_seconds(taken * row["modelled_step_s"]),
        "" if published is None else format_seconds(published),
    ]


def _kernels(row: Row) -> str:
    least, most = row["kernels_least"], row["kernels"]
    return f"{least:,} - {most:,}" if least < most else f"{most:,}"


def gpu_limits() -> str:
    """The counts that the benchmark is held against, and which of them are missed."""
    limits = {gpu: record()[gpu]["limits"] for gpu in ON_BOTH}
    lines = [
        [what, f"{one['limit']:g}", *(_count(limits[gpu].get(what)) for gpu in ON_BOTH)]
        for what, one in limits["H100"].items()
    ]
    return markdown(["what", "at most", *ON_BOTH], lines)


def _count(limit: Mapping[str, Any] | None) -> str:
    if limit is None:
        return ""
    return f"{limit['count']:.3g}" if limit["met"] else f"**{limit['count']:.3g}**, missed"


def _by_system(rows: Mapping[str, Row]) -> dict[str, dict[str, Row]]:
    """Rows by system and solver."""
    found: dict[str, dict[str, Row]] = {}
    for name, row in rows.items():
        system, _, solver = name.partition(", ")
        found.setdefault(system, {})[solver] = row
    return dict(sorted(found.items(), key=lambda item: _place(item[0])))


def _place(system: str) -> tuple[int, str]:
    """Where a system stands in tables: those with titles come first."""
    return (list(TITLES).index(system) if system in TITLES else len(TITLES), system)


def _title(system: str) -> str:
    return TITLES.get(system, f"`{system}`")


def _description(counted: Mapping[str, Any]) -> str:
    return str(counted["assumed"]["data_sheet"]["description"])


def _iterations(row: Row) -> int | None:
    """The iterations of a row's solver in the shipped results; None where these have no such row."""
    if row["config"] is None:
        return None
    taken: Iterator[int] = (
        each["num_iterations"] for each in converged(row["config"]) if each["label"] == row["solver"]
    )
    return next(taken, None)
