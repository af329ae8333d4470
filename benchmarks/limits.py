"""What every benchmark does: measure in turn, hold ratios of medians against limits, print, save.

Everything is measured in turn, round after round, in one process, so that what slows the machine slows all alike.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from common.files import write_atomically
from runners.measure.timing import Times, time_calls
from runners.report.environment import describe_environment

FOLDER = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Limit:
    """A ratio of medians and the bound that it is held against."""

    what: str
    ratio: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the ratio is on the right side."""
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


def in_turn(timers: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Times]:
    """Each timer's seconds, measured once a round."""
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            seconds[name].append(timer())
    return {name: Times.of(values) for name, values in seconds.items()}


def product_timer(side: int) -> Callable[[], float]:
    """Times a product of two square float32 matrices, which tells the machine's rate: 2 side^3 operations."""
    square, product = jnp.ones((side, side)), jax.jit(jnp.matmul)
    return lambda: time_calls(lambda: product(square, square), 10).median


def report(title: str, times: Mapping[str, Times], steps: Mapping[str, int], unit: str, held: Sequence[Limit]) -> None:
    """Print the tables; ``unit`` is the timer that the others are shown in multiples of."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("what", "steps", "median, ms", "quartiles, ms", f"in times of {unit}", title=title)
    for name, t in times.items():
        quartiles = f"{1e3 * t.q1:.3f} - {1e3 * t.q3:.3f}"
        multiple = f"{t.median / times[unit].median:.2f}"
        table.add_row(name, str(steps.get(name, "")), f"{1e3 * t.median:.3f}", quartiles, multiple)
    console.print(table)
    print_limits(console, held)


def print_limits(console: Console, held: Sequence[Limit]) -> None:
    """A line for each limit, and whether it was met."""
    for limit in held:
        sign = ">=" if limit.at_least else "<="
        verdict = "met" if limit.met else "MISSED"
        console.print(f"{limit.what}: {limit.ratio:.3g} ({sign} {limit.bound:.3g}: {verdict})", highlight=False)


def save(name: str, times: Mapping[str, Times], held: Sequence[Limit], facts: Mapping[str, Any]) -> None:
    """Write benchmarks/<name>.json."""
    record: dict[str, Any] = {
        "benchmark": name,
        **describe_environment(),
        **facts,
        "seconds": {key: dataclasses.asdict(t) for key, t in times.items()},
        "limits": [{**dataclasses.asdict(limit), "met": limit.met} for limit in held],
    }
    write_atomically(FOLDER / f"{name}.json", (json.dumps(record, indent=2) + "\n").encode())
