"""Hold the ratios that benchmarks have just measured against the committed ones: has anything become slower?

    python -m benchmarks.gate

Every benchmark writes the ratios that it is held against (``limits`` in benchmarks/NAME.json). Those of times and of
memory are looked at here, by their names; counts and errors have limits of their own, and times by themselves are those
of a machine. A ratio that is up to 1.25 times as bad as the committed one is as it was; above that it is a warning, and
above 1.75 the gate fails. What was measured on another kind of device is shown, and not judged.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.limits import FOLDER

WARN, FAIL = 1.25, 1.75
# The names of limits that are ratios of times, or of memory.
_RATIOS = re.compile(
    r"\bin times of\b|\btimes faster than\b|, in (its )?sweeps$|, in U$|, in torchvision's$"
    r"|, in its steps times one sweep$|^memory of a device of \d+ in that of one\b"
)


@dataclass(frozen=True)
class Change:
    """A ratio as it was committed, and as it is now."""

    benchmark: str
    what: str
    before: float
    now: float
    at_least: bool = False  # whether more is better
    judged: bool = True  # whether both were measured on one kind of device

    @property
    def times_worse(self) -> float:
        """How many times as bad it is as it was; below 1 it is better."""
        return self.before / self.now if self.at_least else self.now / self.before

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if not self.judged:
            return "another device"
        if not self.times_worse <= FAIL:
            return "FAILS"
        return "as it was" if self.times_worse <= WARN else "warning"


def changes(benchmark: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """The ratios that two results of one benchmark both have, above 0."""
    old, new = _ratios(before), _ratios(now)
    same = before["device"]["kind"] == now["device"]["kind"]
    for what, (value, at_least) in new.items():
        if what in old and old[what][0] > 0 and value != 0:
            yield Change(benchmark, what, old[what][0], value, at_least, same)


def _ratios(record: Mapping[str, Any]) -> dict[str, tuple[float, bool]]:
    """The ratios of a benchmark by name, each with whether more of it is better."""
    limits = record.get("limits", {})
    named = limits if isinstance(limits, Mapping) else {limit["what"]: limit for limit in limits}
    return {
        what: (float(limit["ratio"]), bool(limit.get("at_least")))
        for what, limit in named.items()
        if "ratio" in limit and _RATIOS.search(what)
    }


def _committed(name: str, commit: str) -> dict[str, Any] | None:
    """The results of a benchmark at a commit; None where it has none."""
    line = ["git", "-C", str(FOLDER), "show", f"{commit}:./{name}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def _print(found: list[Change]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table("benchmark", "ratio", "committed", "now", "times worse", "verdict", title="ratios, and as they were")
    for change in found:
        numbers = [f"{value:.3g}" for value in (change.before, change.now, change.times_worse)]
        table.add_row(change.benchmark, change.what, *numbers, change.verdict)
    console.print(table)


def main() -> int:
    """Compare and print; returns 1 where a ratio fails, or there is nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="HEAD", help="the commit whose results are compared with")
    options = parser.parse_args()
    found: list[Change] = []
    for path in sorted(FOLDER.glob("*.json")):
        before, now = _committed(path.name, options.against), json.loads(path.read_text(encoding="utf-8"))
        if before is not None and "device" in before and "device" in now:
            found += changes(path.stem, before, now)
    if not found:
        print(f"{options.against} has no ratios that could be compared with those in {FOLDER}")
        return 1
    _print(found)
    failed = [change for change in found if change.verdict == "FAILS"]
    warned = [change for change in found if change.verdict == "warning"]
    print(f"{len(found)} ratios: {len(failed)} above {FAIL} times the committed one, {len(warned)} above {WARN}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
