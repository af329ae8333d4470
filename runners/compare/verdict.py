"""What comes out of holding the results of several runs against those of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runners.compare.answers import Gap, gaps, noise_that_differs, row_complaints
from runners.compare.folders import RunResults
from runners.compare.inputs import Setting, settings_that_differ
from runners.compare.rows import TimedRow, rows_of


@dataclass(frozen=True)
class RowPair:
    """The same row of two runs."""

    run: str  # what the second run is called
    first: TimedRow
    second: TimedRow

    @property
    def time_ratio(self) -> float | None:
        """The second time over the first."""
        one, two = self.first.time_s, self.second.time_s
        return None if not one or two is None else two / one

    @property
    def record(self) -> dict[str, Any]:
        """As results.json holds it."""
        both = (self.first, self.second)
        return {
            **{"row": self.first.name, "run": self.run, "time_ratio": self.time_ratio},
            **{"status": [row.status for row in both], "num_steps": [row.steps for row in both]},
            **{"time_s": [row.time_s for row in both], "max_abs_error": [row.error for row in both]},
        }


@dataclass(frozen=True)
class Verdict:
    """The first run against all others."""

    title: str
    names: tuple[str, ...]  # what the runs are called: A, B, ...
    runs: tuple[RunResults, ...]
    settings: tuple[Setting, ...]  # in which they differ
    pairs: tuple[RowPair, ...]
    sentences: tuple[str, ...]  # one for each run but the first, of its answers, and what only one of two runs has
    complaints: tuple[str, ...]  # where the same was asked and the answer is another

    @property
    def record(self) -> dict[str, Any]:
        """As results.json holds it."""
        return {
            "name": self.title,
            "runs": {name: str(run.folder) for name, run in zip(self.names, self.runs, strict=True)},
            "differs": [setting.key for setting in self.settings],
            "rows": [pair.record for pair in self.pairs],
            "answers": list(self.sentences),
            "complaints": list(self.complaints),
        }


def judge(title: str, runs: Sequence[RunResults]) -> Verdict:
    """Hold all runs but the first against the first."""
    names = tuple(chr(ord("A") + i) if i < 26 else f"run {i + 1}" for i in range(len(runs)))
    settings = settings_that_differ(runs)
    pairs, sentences, complaints = [], [], []
    first = rows_of(runs[0].record)
    for i, run in list(enumerate(runs))[1:]:
        other = rows_of(run.record)
        pairs += [RowPair(names[i], row, other[name]) for name, row in first.items() if name in other]
        asked = [setting for setting in settings if setting.asks_otherwise(0, i)]
        noise = noise_that_differs(runs[0], run)
        if asked or noise:
            why = ", ".join([setting.key for setting in asked] + noise)
            sentences.append(f"{names[i]}: its answers are not comparable with {names[0]}'s, as these differ: {why}")
        else:
            found = gaps(runs[0], run)
            wrong = [gap.sentence for gap in found if gap.is_another]
            for name, row in first.items():
                wrong += row_complaints(row, other[name]) if name in other else []
            complaints += [f"{names[i]}: {text}" for text in wrong]
            sentences.append(f"{names[i]}: {_agreement(found)}" if not wrong else f"{names[i]}: another answer")
        sentences += _alone(names[0], names[i], first.keys(), other.keys())
    return Verdict(title, names, tuple(runs), tuple(settings), tuple(pairs), tuple(sentences), tuple(complaints))


def _agreement(found: Sequence[Gap]) -> str:
    """How well answers agree that are the same."""
    if not found:
        return "the files of both hold no answer; statuses and errors of the rows are alike"
    worst = max(found, key=lambda gap: gap.distance)
    if worst.distance == 0:
        return f"the same answers, bit for bit ({len(found)} compared)"
    return f"the same answers ({len(found)} compared); the furthest is {worst.sentence}"


def _alone(first: str, second: str, mine: Any, other: Any) -> list[str]:
    """What rows only one of the runs has, in words."""
    said = []
    for name, only in (
        (first, [row for row in mine if row not in other]),
        (second, [row for row in other if row not in mine]),
    ):
        if only:
            said.append(f"only {name} has {', '.join(only)}")
    return said
