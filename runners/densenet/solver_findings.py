"""Findings about one solver on all images: curves by step, when answers settle, and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from runners.densenet.answers import Answers
from runners.densenet.follow import Followed
from runners.densenet.layers import SEQUENTIAL, CriticalPath
from runners.measure.job import Row
from solvers import Status


@dataclass(frozen=True)
class SolverFindings:
    """One solver, followed on all images.

    Attributes:
        row: its row of the comparison, on the first batch.
        outcome: how it ended, for the image with the worst end.
        parallel: whether it takes layers at once and not one after the other.
        curves: arrays by step from the first guess on, which draw the pictures and make curves.npz.
        final_error: the largest error of a logit at the end, over all images.
        settled: steps after which the five largest logits, their order and all logits do not change, over the images.
        early_exits: the cost of stopping early, for every k; of a parallel solver only.
        times: measured and modelled, until half of the images have their last top five, and in full.
    """

    row: Row
    outcome: Status
    parallel: bool
    curves: dict[str, np.ndarray]
    final_error: float
    settled: dict[str, dict[str, float]]
    early_exits: list[dict[str, Any]]
    times: dict[str, Any]


def solver_findings(
    row: Row, followed: Followed, path: CriticalPath, exact: Float[np.ndarray, "N K"], ks: Sequence[int]
) -> SolverFindings:
    """Work out all that follows from the way of one solver.

    Args:
        row: its row of the comparison, with the trace that gives measured times.
        followed: its way on all images.
        path: the model of a parallel time.
        exact: the logits of the sequential pass.
        ks: iterations without a change after which one may stop.
    """
    curves = _curves(row, followed, path, exact)
    parallel = row.entry.inner_name not in SEQUENTIAL
    settled = {name: _spread(steps) for name, steps in followed.answers.settled().items()}
    return SolverFindings(
        row=row,
        outcome=followed.outcome,
        parallel=parallel,
        curves=curves,
        final_error=float(np.max(curves["error"][-1])),
        settled=settled,
        early_exits=[_early_exit(followed.answers, curves, exact, k) for k in ks] if parallel else [],
        times=_times(row, curves, settled["top5"]["median"]),
    )


def _curves(row: Row, followed: Followed, path: CriticalPath, exact: Float[np.ndarray, "N K"]) -> dict[str, np.ndarray]:
    answers = followed.answers
    by_iteration = {"error": answers.error(exact), "difference": followed.difference, **answers.agreement(exact)}
    return {
        "num_steps": answers.all_steps,
        "time_s": _measured_s(row, answers.all_steps),
        "modelled_s": path.modelled_s(row.entry, answers.all_steps),
        **{name: answers.by_steps(rows) for name, rows in by_iteration.items()},
    }


def _measured_s(row: Row, num_steps: Int[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    """Measured seconds by step on the first batch, linear in between; NaN for steps that it did not need."""
    trace = row.trace or {}
    known, seconds = (np.concatenate([[0], trace.get(name, [])]) for name in ("num_steps", "time_s"))
    return np.interp(num_steps, known, seconds, right=np.nan)


def _early_exit(
    answers: Answers, curves: Mapping[str, np.ndarray], exact: Float[np.ndarray, "N K"], k: int
) -> dict[str, Any]:
    found = answers.early_exit(exact, k)
    times = {"measured_s": "time_s", "modelled_s": "modelled_s"}
    return found | {key: _at(curves, name, found["mean_steps"]) for key, name in times.items()}


def _times(row: Row, curves: Mapping[str, np.ndarray], settled_steps: float) -> dict[str, Any]:
    return {
        "label": row.label,
        "top5_settled_steps": settled_steps,
        "measured_top5_settled_s": _at(curves, "time_s", settled_steps),
        "modelled_top5_settled_s": _at(curves, "modelled_s", settled_steps),
        "measured_s": row.run_s.median,
        "modelled_s": _at(curves, "modelled_s", float(row.num_steps)),
    }


def _at(curves: Mapping[str, np.ndarray], name: str, num_steps: float) -> float:
    """A time after so many steps, linear in between; after the last known one that of its end."""
    known = np.isfinite(curves[name])
    return float(np.interp(num_steps, curves["num_steps"][known], curves[name][known]))


def _spread(steps: Int[np.ndarray, " N"]) -> dict[str, float]:
    """Median, mean and range over the images."""
    return {
        "median": float(np.median(steps)),
        "mean": float(np.mean(steps)),
        "min": int(np.min(steps)),
        "max": int(np.max(steps)),
    }
