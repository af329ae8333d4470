"""Whether runs that were asked the same give the same answer: bit for bit, or as far apart as their solvers may be.

Whole numbers, such as the classes of sound and letters, are the same or not. Other answers may be as far apart as an
equation may miss without being called mismatched, or as the answers of the solvers of one run are that converged.
What a training has learned may differ by a hundredth, which is how near results count as having got to a loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runners.compare.folders import RunResults
from runners.compare.rows import TimedRow, item_name, rows_of
from runners.measure.job import MISMATCH

_LEARNED = 0.01  # of the value itself
_TIMES_WORSE = 10  # an error of a row is another answer where it is this many times the other run's, and mismatched
# The arrays that answers are, as file:array, and whether they were learned; what else is in samples.npz is given.
_ARRAYS = {
    **dict.fromkeys(
        (r"samples\.npz:(samples|accepted|normal_noise)", r"solution\.npz:.*", r"curves\.npz:exact_logits"), False
    ),
    **{r"outputs\.npz:values": False, r"losses\.npz:(.*)": True, r"traces\.npz:training/(.*)/loss": True},
}
_GIVEN = re.compile(r"samples\.npz:(?!(samples|accepted)$).*")
# The same for numbers of the record, by their paths.
_NUMBERS = {
    r"(.*/)?lyapunov": False,
    r"(bits_per_dim|cross_entropy|accuracy)(/.*)?": False,
    r"values/mean/\d+": False,
    r"parameters/[^/]*/(mean|sd)": False,
    r"history/[^/]*/(?!seconds).*": True,
    r"(training/)?rows/[^/]*/(final_loss(/mean)?|held_out_accuracy/\d+)": True,
}
_RAN_OUT = "time_limit_reached"  # of a solve that was slower, which is no answer


@dataclass(frozen=True)
class Gap:
    """How far one answer is from the other."""

    what: str  # of which row or file it is
    distance: float  # the largest difference; of whole numbers, how many are not the same
    allowed: float  # up to which distance it is the same answer

    @property
    def is_another(self) -> bool:
        """Whether the answers are not the same; what is not a number is not."""
        return not self.distance <= self.allowed

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"{self.what}: off by {self.distance:.3g}, where {self.allowed:.3g} is allowed"


def noise_that_differs(first: RunResults, second: RunResults) -> list[str]:
    """The names of the given arrays, such as the noise, that are in both runs and not the same."""
    mine, other = _given(first), _given(second)
    return [key for key in mine if key in other and not _same_bits(mine[key], other[key])]


def _reference_status(run: RunResults) -> str | None:
    """How the solve ended whose answer the arrays are."""
    rows = (row for row in run.record.get("rows", ()) if row.get("label") == run.record.get("error_reference"))
    return next((row.get("status") for row in rows), None)


def gaps(first: RunResults, second: RunResults) -> list[Gap]:
    """How far all answers are from each other that both runs have, the numbers of their records last."""
    spread = max(MISMATCH, _spread(first), _spread(second))
    found = []
    mine, other = _answers(first), _answers(second)
    ran_out = _RAN_OUT in (_reference_status(first), _reference_status(second))
    for key, (row, learned, array) in mine.items():
        if key in other and (learned or not ran_out):
            found.append(_gap(f"{row}, {key.replace(':', ' ')}", array, other[key][2], learned, spread))
    numbers, others = _numbers(first), _numbers(second)
    for key, (learned, number) in numbers.items():
        if key in others:
            found.append(_gap(key, np.asarray(number), np.asarray(others[key][1]), learned, MISMATCH))
    return found


def row_complaints(first: TimedRow, second: TimedRow) -> list[str]:
    """What a row's answer lacks in one run and not in the other, in words; none where a solve only ran out of time."""
    said = []
    if first.status != second.status and _RAN_OUT not in (first.status, second.status):
        said.append(f"{first.name}: {first.status} in the first, {second.status} in the second")
    missed = (first.mismatched or 0, second.mismatched or 0)
    if first.status == second.status and (missed[0] > 0) != (missed[1] > 0):
        said.append(f"{first.name}: {missed[0]} mismatched equations in the first, {missed[1]} in the second")
    if first.error is not None and second.error is not None and first.status == second.status == "converged":
        worse, better = max(first.error, second.error), min(first.error, second.error)
        if np.isnan(first.error) != np.isnan(second.error) or not worse <= max(MISMATCH, _TIMES_WORSE * better):
            said.append(f"{first.name}: its error is {first.error:.3g} in the first, {second.error:.3g} in the second")
    return said


def _gap(what: str, mine: np.ndarray, other: np.ndarray, learned: bool, spread: float) -> Gap:
    if mine.shape != other.shape:
        return Gap(f"{what}, of shape {mine.shape} and {other.shape}", np.inf, 0.0)
    if mine.dtype.kind not in "fc" or other.dtype.kind not in "fc":
        return Gap(what, float(np.sum(mine != other)), 0.0)
    wide = np.result_type(mine, other, np.float64)
    mine, other = mine.astype(wide), other.astype(wide)
    same = (mine == other) | (np.isnan(mine) & np.isnan(other))
    distance = np.where(same, 0.0, np.abs(mine - np.where(same, mine, other)))
    allowed = spread
    if learned:
        finite = np.abs(mine[np.isfinite(mine)])
        allowed = max(MISMATCH, _LEARNED * float(finite.max(initial=0.0)))
    return Gap(what, float(np.max(distance, initial=0.0)), allowed)


def _answers(run: RunResults) -> dict[str, tuple[str, bool, np.ndarray]]:
    """The arrays that are answers, as file:array, each with the row that it is of and whether it was learned."""
    found = {}
    for file in run.array_files:
        kinds = {pattern: learned for pattern, learned in _ARRAYS.items() if pattern.startswith(re.escape(file))}
        for name, array in run.arrays(file).items() if kinds else ():
            for pattern, learned in kinds.items():
                match = re.fullmatch(pattern, f"{file}:{name}")
                if match:
                    label = match[1] if learned else run.record.get("error_reference")
                    found[f"{file}:{name}"] = (f"row {label}" if label else "the run", learned, array)
    return found


def _given(run: RunResults) -> dict[str, np.ndarray]:
    arrays = {f"samples.npz:{name}": array for name, array in run.arrays("samples.npz").items()}
    found = {key for key in arrays if "round_trip" in run.record and key.endswith("_noise")}  # what was looked for
    return {key: array for key, array in arrays.items() if _GIVEN.fullmatch(key) and key not in found}


def _numbers(run: RunResults) -> dict[str, tuple[bool, float]]:
    """The numbers of a record that are answers, by path, each with whether it was learned."""
    found = {}
    for path, number in _leaves("", run.record):
        learned = next((learned for pattern, learned in _NUMBERS.items() if re.fullmatch(pattern, path)), None)
        if learned is not None:
            found[path] = (learned, number)
    return found


def _leaves(path: str, value: Any) -> Iterator[tuple[str, float]]:
    """All numbers of a record by their paths, in which items of lists have their names."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if key != "config":
                yield from _leaves(f"{path}/{key}".removeprefix("/"), part)
    elif isinstance(value, list):
        for i, part in enumerate(value):
            name = item_name(part) if isinstance(part, Mapping) else ""
            yield from _leaves(f"{path}/{name or i}", part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


def _spread(run: RunResults) -> float:
    """The largest error of a row that converged against its own run's reference."""
    rows: Sequence[TimedRow] = list(rows_of(run.record).values())
    errors = [row.error for row in rows if row.status == "converged" and row.error is not None]
    return max((error for error in errors if np.isfinite(error)), default=0.0)


def _same_bits(mine: np.ndarray, other: np.ndarray) -> bool:
    return mine.dtype == other.dtype and mine.shape == other.shape and mine.tobytes() == other.tobytes()
