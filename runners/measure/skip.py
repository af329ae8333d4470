"""Solvers that are left out of an experiment, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from runners.config.solvers import SolverEntry

NAIVE_LENGTH = 2_000  # the equations up to which naive sequential evaluation is run, where a config does not say

Skip: TypeAlias = Callable[[Any, SolverEntry], str | None]  # why an entry is not run on a system; None where it is


@dataclass(frozen=True)
class Skipped:
    """A solver that was not run."""

    label: str
    entry: SolverEntry
    reason: str

    @property
    def record(self) -> dict[str, str]:
        """As results.json holds it."""
        return {"solver": self.entry.name, "label": self.label, "reason": self.reason}

    @property
    def sentence(self) -> str:
        """For a person."""
        return f"{self.label} was left out: {self.reason}"


def split_entries(
    system: Any, entries: Mapping[str, SolverEntry], skip: Skip
) -> tuple[dict[str, SolverEntry], list[Skipped]]:
    """The entries by label that are run on ``system``, and those that are not."""
    reasons = {label: skip(system, entry) for label, entry in entries.items()}
    kept = {label: entry for label, entry in entries.items() if reasons[label] is None}
    return kept, [Skipped(label, entries[label], reason) for label, reason in reasons.items() if reason is not None]


def too_long(system: Any, entry: SolverEntry, max_length: int) -> str | None:
    """Why naive sequential evaluation is not run on so long a system; None for other solvers and shorter systems."""
    length = system.num_equations
    if entry.name != "sequential" or length <= max_length:
        return None
    return (
        f"naive sequential evaluation computes all T equations T times, here {length**2:,} of each sample; it is left "
        f"out above T = {max_length:,} (sequential_max_length)"
    )
