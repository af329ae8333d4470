"""What two runs of one config left behind, on a device and on the processor, held against each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from runners.measure.job import MISMATCH

# Arrays that hold answers, by file; None: all of them. Others hold times, and the way to the answer.
ANSWERS: dict[str, tuple[str, ...] | None] = {
    **{"samples.npz": None, "solution.npz": None, "losses.npz": None},
    **{"curves.npz": ("exact_logits",), "outputs.npz": ("values", "low", "high")},
}
METRICS = (
    *("bits_per_dim", "cross_entropy", "accuracy"),
    *(f"held_out_{name}" for name in ("bits_per_dim", "cross_entropy", "accuracy")),
)
METRIC_APART = 0.02  # an image of the sixty that are classified
# The share of numbers that may differ, by case; in others none. Where values are chosen (a class, a pixel, whether a
# proposal is accepted), rounding may turn one choice, and all that follows in that sample is another. So much is one
# sample of the batch, two of the sixteen of MADE, and half of the one that WaveNet draws.
MOST_DIFFERING = {"made": 0.125, "pixelcnnpp": 0.34, "wavenet": 0.5, "language": 0.5, "mcmc": 0.5}
# Jacobi ends when its last bits stand still, which rounding can bring forward or put off.
STEPS_APART = 0.2
SAME_SHAPES = ("sequential", "jacobi")  # solvers whose every pass is a whole sweep


@dataclass(frozen=True)
class Answers:
    """A run's results.json and its arrays of answers."""

    record: Mapping[str, Any]
    arrays: Mapping[str, Shaped[np.ndarray, "..."]]

    @classmethod
    def of(cls, folder: Path) -> Answers:
        """Those of a run in ``folder``."""
        arrays: dict[str, np.ndarray] = {}
        for file, names in ANSWERS.items():
            if (folder / file).is_file():
                with np.load(folder / file, allow_pickle=False) as content:
                    arrays |= {f"{file}/{name}": content[name] for name in content if names is None or name in names}
        return cls(json.loads((folder / "results.json").read_text(encoding="utf-8")), arrays)

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """What is known of each solve that was compared with others."""
        return list(_rows(self.record))

    @property
    def num_steps(self) -> int:
        """The steps of all rows."""
        return sum(row["num_steps"] for row in self.rows)

    @property
    def mismatches(self) -> int:
        """Equations that are not those of the reference sweep, in all rows that are not to be rough."""
        return sum(row["mismatched_equations"] for row in self.rows if row["options"]["tol"] <= MISMATCH)

    def broken_promises(self) -> Iterator[str]:
        """What a run by itself shows to be wrong, a sentence each."""
        for row in self.rows:
            if row["status"] != "converged":
                yield f"{row['label']} ended as {row['status']}"
            whole = row["solver"] in SAME_SHAPES and row["options"]["tol"] == 0
            if whole and row["max_residual"] != 0:
                yield f"{row['label']}: a sweep of its answer is off by {row['max_residual']:.1e}, and not by 0"
        if self.mismatches:
            yield f"{self.mismatches} equations are not those of the reference sweep"


def _rows(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if "mismatched_equations" in value:
            yield value
        else:
            for item in value.values():
                yield from _rows(item)
    elif isinstance(value, list):
        for item in value:
            yield from _rows(item)


def differing(found: Answers, wanted: Answers) -> float | None:
    """The share of numbers that differ by more than rounding, of the array with the most; None without arrays."""
    shares = [_share(found.arrays[name], array) for name, array in wanted.arrays.items() if name in found.arrays]
    return max(shares, default=None)


def _share(a: Shaped[np.ndarray, "..."], b: Shaped[np.ndarray, "..."]) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return 1.0
    if a.size == 0:
        return 0.0
    if not np.issubdtype(a.dtype, np.inexact):
        return float(np.mean(a != b))
    near = np.isclose(a, b, rtol=MISMATCH, atol=MISMATCH, equal_nan=True)
    return float(np.mean(~near))


def disagreements(found: Answers, wanted: Answers, most_differing: float = 0.0) -> Iterator[str]:
    """What sets a device's run apart from the processor's, a sentence each.

    ``most_differing``: the share of numbers of an array that may differ by more than rounding.
    """
    missing = wanted.arrays.keys() - found.arrays.keys()
    if missing:
        yield f"it has not left {', '.join(sorted(missing))}"
    share = differing(found, wanted)
    if share is not None and share > most_differing:
        yield f"{share:.2%} of an array differs from the processor's"
    if len(found.rows) != len(wanted.rows):
        yield f"it has {len(found.rows)} rows, and not {len(wanted.rows)}"
    for own, other in zip(found.rows, wanted.rows, strict=False):
        steps, expected = own["num_steps"], other["num_steps"]
        if abs(steps - expected) > max(2, STEPS_APART * expected):
            yield f"{own['label']} takes {steps} steps, and not about {expected}"
    for name in METRICS:
        if name in wanted.record and name not in found.record:
            yield f"it has not told {name}"
        elif name in wanted.record:
            value, expected = _mean(found.record[name]), _mean(wanted.record[name])
            if not abs(value - expected) <= METRIC_APART * max(1.0, abs(expected)):
                yield f"{name} is {value:.4g}, and not about {expected:.4g}"


def _mean(metric: Any) -> float:
    """A metric, which has a standard error beside its mean or stands alone."""
    return float(metric["mean"] if isinstance(metric, Mapping) else metric)
