"""Time MADE's solvers against each other, against the arithmetic and against the limits: python -m benchmarks.made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import jax

from benchmarks.limits import Limit, in_turn, product_timer, report, save
from models.weights.load import load_checkpoint
from runners.measure.timing import CompiledSolve, Times, follow, time_calls
from solvers import CachedSequential, GSJacobi, Jacobi, JacobiGS, Sequential, Solver
from solvers.systems.autoregressive import AutoregressiveSystem

MATRIX = 1024  # the side of the "large" matrix product that tells the machine's rate
SOLVERS: dict[str, Solver] = {
    "sequential": Sequential(),
    "cached_sequential": CachedSequential(),
    "jacobi": Jacobi(),
    "gs_jacobi": GSJacobi(block_size=112),
    "jacobi_gs": JacobiGS(block_size=28),
}


def measure(batch_size: int, rounds: int) -> tuple[dict[str, Times], dict[str, int], float]:
    """Medians by name, the solvers' steps, and the floating-point operations of a sweep."""
    model = load_checkpoint("made_mnist").model
    noise = model.draw_noise(jax.random.key(0), batch_size)
    system = AutoregressiveSystem(model.fold(), model.head, noise)
    guess = system.initial_guess()
    sweep = jax.jit(lambda system, x: system.sweep(x)).lower(system, guess).compile()
    solves = {name: CompiledSolve(system, solver) for name, solver in SOLVERS.items()}
    steps = {name: int(follow(solve, lambda _: None).solution.stats.num_steps) for name, solve in solves.items()}
    timers: dict[str, Callable[[], float]] = {
        "matrix_product": product_timer(MATRIX),
        "sweep": lambda: time_calls(lambda: sweep(system, guess), 30).median,
        **{name: partial(_seconds, solve) for name, solve in solves.items()},
    }
    sizes = [model.config.num_inputs, *model.config.hidden_sizes, 2 * model.config.num_inputs]
    flops = 2.0 * batch_size * sum(a * b for a, b in pairwise(sizes))
    return in_turn(timers, rounds), steps, flops


def _seconds(solve: CompiledSolve) -> float:
    return follow(solve, lambda _: None).seconds


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


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    times, steps, flops = measure(options.batch_size, options.rounds)
    held = limits(times, steps, flops)
    report(f"MADE, made_mnist, batch {options.batch_size}", times, steps, "sweep", held)
    save("made", times, held, {"batch_size": options.batch_size, "sweep_flops": flops, "num_steps": steps})
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
