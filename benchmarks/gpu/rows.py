"""Rows of benchmarks/accelerator.json, as its report and the documentation show them: counts, and times of solves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runners.report.shipped import converged

Row = Mapping[str, Any]


def row_name(system: str, solver: str) -> str:
    """The key of a row among those of a GPU."""
    return f"{system}, {solver}"


def steps_taken(config: str) -> dict[str, int]:
    """Iterations of the solvers in the shipped results of a config, by label; of a training those before it."""
    return {row["label"]: row["num_iterations"] for row in converged(config)}


def modelled_solve_s(row: Row) -> float | None:
    """The time of a solve in as many steps as the shipped results say, a model; None where they do not."""
    taken = {} if row["config"] is None else steps_taken(row["config"])
    return taken[row["solver"]] * row["modelled_step_s"] if row["solver"] in taken else None


def ended_well(row: Row) -> bool:
    """Whether a measured solve converged, to an answer of which a sweep leaves every equation as it is (to 0.001)."""
    return row["status"] == "converged" and row["mismatched_equations"] == 0


def kernels(row: Row) -> str:
    """The kernels of a step: the fewest and the most where it branches."""
    least, most = row["kernels_least"], row["kernels"]
    return f"{least:,} - {most:,}" if least < most else f"{most:,}"


def gflop(row: Row) -> str:
    """The operations of a step in 10^9, at least so many where a loop of unknown length is in it."""
    return f"{'' if row['flops_whole'] else '≥ '}{row['flops'] / 1e9:.2g}"


def temporaries_mib(row: Row) -> str:
    """The memory of a program's temporaries in MiB, the workspace of cuBLAS included."""
    return f"{row['temporaries_bytes'] / 2**20:.3g}"
