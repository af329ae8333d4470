"""What two runs were asked: where their configs differ, and whether that leaves the answer the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runners.compare.folders import RunResults
from runners.report.table import Column, ResultTable

# Keys of configs that say how an answer is found, measured and kept, not which. Noise from a file is compared itself.
_HOW = {
    *("solvers", "methods", "guess", "mesh", "runner", "repeats", "trace", "time_limit_s", "sequential_max_length"),
    *("memory_limit_mib", "early_exit", "judge", "pin", "noise_file", "save_every_s", "sample_every_epochs"),
    *("state_dir", "checkpoint_name", "show_s", "check_s", "save_state", "continue_s"),
}
_HEADER = ("git_commit", "device", "versions", "precision", "matmul_precision")
_LONGEST = 36  # letters of a value in the table
ABSENT = object()  # the value of a key that a run does not have


@dataclass(frozen=True)
class Setting:
    """A key of the header or the config in which runs differ, and its value in each of them."""

    key: str  # its path, with dots
    values: tuple[Any, ...]  # ABSENT where a run does not have it

    def asks_otherwise(self, first: int, second: int) -> bool:
        """Whether two of the runs were asked for other answers by it.

        A key of the config itself that one of them does not have is of a version that knew it, with a default that
        changes nothing; an option inside a key may have any default.
        """
        one, two = self.values[first], self.values[second]
        parts = self.key.split(".")
        return (
            (parts[0] == "config" and parts[1] not in _HOW and parts[-1] != "solvers")
            and (len(parts) > 2 or ABSENT not in (one, two))
            and one != two
        )


def settings_that_differ(runs: Sequence[RunResults]) -> list[Setting]:
    """All keys of the header and the config that are not the same in all runs, in their order."""
    parts = [{key: run.record[key] for key in _HEADER if key in run.record} for run in runs]
    both = [part | {"config": run.record["config"]} for part, run in zip(parts, runs, strict=True)]
    return list(_differing("", both))


def settings_table(settings: Sequence[Setting], names: Sequence[str]) -> ResultTable:
    """The values of each setting in the runs, which have these names."""
    columns = [Column("setting", align="left"), *(Column(name, align="left") for name in names)]
    rows = [[setting.key, *map(_shown, setting.values)] for setting in settings]
    return ResultTable("what differs", columns, rows)


def _differing(path: str, values: Sequence[Any]) -> Iterator[Setting]:
    if all(value == values[0] for value in values):
        return
    if not all(isinstance(value, Mapping) for value in values):
        yield Setting(path, tuple(values))
        return
    for key in dict.fromkeys(key for value in values for key in value):
        yield from _differing(f"{path}.{key}".removeprefix("."), [value.get(key, ABSENT) for value in values])


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
