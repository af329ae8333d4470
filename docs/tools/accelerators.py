"""The tables of accelerators: what a step launches, what was timed, and which limits are met."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.gpu.cases import CASES, case_of, not_counted
from benchmarks.gpu.rows import Row, ended_well, gflop, kernels, modelled_solve_s, temporaries_mib
from common.paths import ROOT
from docs.tools.results import markdown
from runners.report.shipped import converged
from runners.report.units import format_seconds

# What benchmarks/accelerator.json calls by a short name; other systems have the names of their configs.
TITLES = {
    "made": "MADE, 784 pixels, batch 100",
    "pixelcnnpp": "PixelCNN++, 784 pixels, batch 16",
    "wavenet": "WaveNet, 2 x 14 layers, 2,000 samples",
    "densenet201": "DenseNet-201, one photograph",
    "gru": "GRU of 8 units, 10,000 steps, batch 16",
}
GPUS_SHOWN = ("H100", "A100")


def record() -> dict[str, Any]:
    """The results of the benchmark."""
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "accelerator.json").read_text())
    return found


def on_gpu() -> str:
    """The fastest parallel solver of each system whose solvers were all timed on a GPU, beside the sequential ones."""
    lines = []
    for found in record()["measured"].values():
        for system, all_rows in sorted(_by_system(found["rows"]).items(), key=lambda item: item[0] in CASES):
            rows = {solver: row for solver, row in all_rows.items() if ended_well(row)}
            if len(all_rows) < max(row["solvers"] for row in all_rows.values()):
                continue
            parallel = {solver: row for solver, row in rows.items() if "sequential" not in solver}
            cached = [row["solve_s"] for solver, row in rows.items() if _is_cached(solver)]
            if not parallel or not cached:
                continue
            best = min(parallel, key=lambda solver: parallel[solver]["solve_s"])
            time, steps = parallel[best]["solve_s"], parallel[best]["iterations"]
            naive = [rows["sequential"]["solve_s"]] if "sequential" in rows else []
            shown = [f"`{best}` (of {len(parallel)})", str(steps), format_seconds(time)]
            for times in (cached, naive, _cached_on_cpu(system)):
                shown += [format_seconds(min(times)), _ratio(min(times), time)] if times else ["", ""]
            lines.append([_timed_title(system), *shown])
    header = ["system", "fastest parallel solver", "steps", "on the GPU", "cached, on the GPU", "parallel over cached"]
    header += ["naive, on the GPU", "over naive", "cached, 2 CPU cores", "GPU's parallel over CPU's cached"]
    return markdown(header, lines)


def timed() -> str:
    """Every solve that ended well on a GPU, what the model says of its iterations, and the time that was published."""
    found = record()
    lines = []
    for device, measured in found["measured"].items():
        counted: Mapping[str, Row] = next(
            (found[gpu]["rows"] for gpu in GPUS_SHOWN if device == _description(found[gpu])), {}
        )
        model = _by_system(counted)
        for system, rows in _by_system(measured["rows"]).items():
            case = case_of(system)
            published = CASES[case].published_s if case != system else {}
            for solver, row in rows.items():
                if not ended_well(row):
                    continue
                modelled = model.get(case, {}).get(solver)
                shown = (format_seconds(row["solve_s"]), str(row["iterations"]), format_seconds(row["step_s"]))
                told = format_seconds(modelled["modelled_step_s"]) if modelled else ""
                paper = format_seconds(published[solver]) if solver in published else ""
                lines.append([_timed_title(system), f"`{solver}`", *shown, told, paper])
    header = ["system", "solver", "a solve", "iterations", "an iteration", "the model", "a solve, published"]
    left = not_counted(row for measured in found["measured"].values() for row in measured["rows"].values())
    told = ", ".join(f"`{name}`" for name in left)
    return markdown(header, lines) + (f"\nNot timed so far: {told}.\n" if left else "")


def _is_cached(solver: str) -> bool:
    return "cached_sequential" in solver


def _ratio(other: float, time: float) -> str:
    """A speed-up in two digits, and in all of them from 100 on."""
    return f"{other / time:.{0 if other >= 100 * time else 2}{'f' if other >= 100 * time else 'g'}}x"


def _cached_on_cpu(system: str) -> list[float]:
    """Times of cached solves in the shipped results of a config, or of the configs that a case is as large as."""
    configs = CASES[system].configs if system in CASES else (system,)
    return [row["run_s"]["median"] for name in configs for row in converged(name) if _is_cached(row["label"])]


def launched() -> str:
    """What a step of each solver launches, and modelled times of a step and of a solve."""
    first, second = (record()[gpu]["rows"] for gpu in GPUS_SHOWN)
    rows = sorted(first.items(), key=lambda item: _place(item[1]["system"]))
    facts = ["round trips", "GFLOP", f"MiB of temporaries, {GPUS_SHOWN[0]}, with cuBLAS's workspace"]
    counts, steps = [f"kernels, {gpu}" for gpu in GPUS_SHOWN], [f"a step, {gpu}: a model" for gpu in GPUS_SHOWN]
    header = ["system", "solver", *counts, *facts, *steps, "a solve, H100: a model", "a solve, published"]
    table = markdown(header, [_line(row, second.get(name)) for name, row in rows])
    missing = {gpu: not_counted(record()[gpu]["rows"].values()) for gpu in GPUS_SHOWN}
    return table + "".join(
        f"\nNot compiled for the {gpu} so far: {', '.join(f'`{name}`' for name in names)}.\n"
        for gpu, names in missing.items()
        if names
    )


def _line(row: Row, other: Row | None) -> list[str]:
    """A row of one GPU, beside the same of another where that is known."""
    modelled, published = modelled_solve_s(row), row["published_solve_s"]
    return [
        _title(row["system"]),
        f"`{row['solver']}`",
        kernels(row),
        "" if other is None else kernels(other),
        str(row["round_trips"]),
        gflop(row),
        temporaries_mib(row),
        format_seconds(row["modelled_step_s"]),
        "" if other is None else format_seconds(other["modelled_step_s"]),
        "" if modelled is None else format_seconds(modelled),
        "" if published is None else format_seconds(published),
    ]


def gpu_limits() -> str:
    """The counts that the benchmark is held against, and which of them are missed."""
    limits = {gpu: record()[gpu]["limits"] for gpu in GPUS_SHOWN}
    lines = [
        [what, f"{one['limit']:g}", *(_count(limits[gpu].get(what)) for gpu in GPUS_SHOWN)]
        for what, one in limits["H100"].items()
    ]
    return markdown(["what", "at most", *GPUS_SHOWN], lines)


def _count(limit: Mapping[str, Any] | None) -> str:
    if limit is None:
        return ""
    return f"{limit['count']:.3g}" if limit["met"] else f"**{limit['count']:.3g}**, missed"


def _by_system(rows: Mapping[str, Row]) -> dict[str, dict[str, Row]]:
    """Rows by system and solver."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows.values():
        found.setdefault(row["system"], {})[row["solver"]] = row
    return dict(sorted(found.items(), key=lambda item: _place(item[0])))


def _place(system: str) -> tuple[int, str]:
    """Where a system stands in tables: those with titles come first."""
    return (list(TITLES).index(system) if system in TITLES else len(TITLES), system)


def _timed_title(system: str) -> str:
    """What a system of timed rows is called: a case has random weights, its configs those that they say."""
    if system in CASES:
        return f"{_title(system)}, random weights"
    case = case_of(system)
    return f"`{system}`" if case == system else f"{TITLES[case]} (`{system}`)"


def _title(system: str) -> str:
    return TITLES.get(system, f"`{system}`")


def _description(counted: Mapping[str, Any]) -> str:
    return str(counted["assumed"]["data_sheet"]["description"])
