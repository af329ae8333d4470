"""Time MADE's solvers against each other, against the arithmetic and against the limits: python -m benchmarks.made.

Everything is measured in turn, round after round, in one process, so that what slows the machine slows all alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from common.files import write_atomically
from models.autoregressive import AutoregressiveSystem
from models.checkpoints import load_checkpoint
from runners.environment import describe_environment
from runners.timing import CompiledSolve, Times, time_calls
from solvers import CachedSequential, GSJacobi, Jacobi, JacobiGS, Sequential, Solver

RESULTS = Path(__file__).resolve().parent / "made.json"
MATRIX = 1024  # the side of the "large" matrix product that tells the machine's rate
SOLVERS: dict[str, Solver] = {
    "sequential": Sequential(),
    "cached_sequential": CachedSequential(),
    "jacobi": Jacobi(),
    "gs_jacobi": GSJacobi(block_size=112),
    "jacobi_gs": JacobiGS(block_size=28),
}


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


def measure(batch_size: int, rounds: int) -> tuple[dict[str, Times], dict[str, int], float]:
    """Medians by name, the solvers' steps, and the floating-point operations of a sweep."""
    model = load_checkpoint("made_mnist").model
    noise = model.draw_noise(jax.random.key(0), batch_size)
    system = AutoregressiveSystem(model.fold(), model.head, noise)
    guess = system.initial_guess()
    sweep = jax.jit(lambda system, x: system.sweep(x)).lower(system, guess).compile()
    square = jnp.ones((MATRIX, MATRIX))
    product = jax.jit(jnp.matmul)
    solves = {name: CompiledSolve(system, solver) for name, solver in SOLVERS.items()}
    steps = {name: int(solve.run()[0].stats.num_steps) for name, solve in solves.items()}
    timers: dict[str, Callable[[], float]] = {
        "matrix_product": lambda: time_calls(lambda: product(square, square), 10).median,
        "sweep": lambda: time_calls(lambda: sweep(system, guess), 30).median,
        **{name: partial(_seconds, solve) for name, solve in solves.items()},
    }
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            seconds[name].append(timer())
    sizes = [model.config.num_inputs, *model.config.hidden_sizes, 2 * model.config.num_inputs]
    flops = 2.0 * batch_size * sum(a * b for a, b in pairwise(sizes))
    return {name: Times.of(values) for name, values in seconds.items()}, steps, flops


def _seconds(solve: CompiledSolve) -> float:
    return solve.run()[1]


def limits(times: dict[str, Times], steps: dict[str, int], flops: float) -> list[Limit]:
    """The figures that this benchmark is held against."""
    sweep = times["sweep"].median
    floor = flops * times["matrix_product"].median / (2.0 * MATRIX**3)
    return [
        Limit("a sweep, in times of its arithmetic as large matrix products", sweep / floor, 3.0),
        Limit("cached sequential, in sweeps", times["cached_sequential"].median / sweep, 10.0),
        Limit(
            "cached sequential, times faster than naive",
            times["sequential"].median / times["cached_sequential"].median,
            75.0,
            at_least=True,
        ),
        Limit("Jacobi, in its steps times one sweep", times["jacobi"].median / (steps["jacobi"] * sweep), 1.1),
        Limit("Jacobi's steps", float(steps["jacobi"]), 50.0),
    ]


def report(times: dict[str, Times], steps: dict[str, int], held: list[Limit], batch_size: int) -> None:
    """Print the tables."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(
        "what", "steps", "median, ms", "quartiles, ms", "in sweeps", title=f"MADE, made_mnist, batch {batch_size}"
    )
    for name, t in times.items():
        quartiles = f"{1e3 * t.q1:.3f} - {1e3 * t.q3:.3f}"
        in_sweeps = f"{t.median / times['sweep'].median:.2f}"
        table.add_row(name, str(steps.get(name, "")), f"{1e3 * t.median:.3f}", quartiles, in_sweeps)
    console.print(table)
    for limit in held:
        sign = ">=" if limit.at_least else "<="
        verdict = "met" if limit.met else "MISSED"
        console.print(f"{limit.what}: {limit.ratio:.2f} ({sign} {limit.bound:g}: {verdict})", highlight=False)


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    times, steps, flops = measure(options.batch_size, options.rounds)
    held = limits(times, steps, flops)
    report(times, steps, held, options.batch_size)
    record: dict[str, Any] = {
        "benchmark": "made",
        **describe_environment(),
        "batch_size": options.batch_size,
        "sweep_flops": flops,
        "seconds": {name: dataclasses.asdict(t) for name, t in times.items()},
        "num_steps": steps,
        "limits": [{**dataclasses.asdict(limit), "met": limit.met} for limit in held],
    }
    write_atomically(RESULTS, (json.dumps(record, indent=2) + "\n").encode())
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
