"""Time PixelCNN++ against the arithmetic and its solvers against each other: python -m benchmarks.pixelcnnpp.

The unit is U: the time of one sweep's arithmetic at the rate of large matrix products, in the same process.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from benchmarks.limits import Limit, in_turn, product_timer, report, save
from models.pixelcnnpp.network import PixelCNNPPNetwork
from models.pixelcnnpp.stack import LEVELS
from models.weights.load import load_checkpoint
from runners.measure.timing import CompiledSolve, Times, follow, time_calls
from solvers import CachedSequential, GSJacobi, Jacobi, JacobiGS, SlidingGSJacobi, Solver
from solvers.systems.autoregressive import AutoregressiveSystem

MATRIX = 2048  # the side of the large products
ROW = 28
REPEATED: dict[str, Solver] = {
    "cached_sequential": CachedSequential(),
    "jacobi": Jacobi(),
}
ONCE: dict[str, Solver] = {
    "gs_jacobi, 7 rows": GSJacobi(block_size=7 * ROW),
    "sliding_gs_jacobi, 7 rows": SlidingGSJacobi(block_size=7 * ROW),
    "jacobi_gs, 1 row": JacobiGS(block_size=ROW),
}


class Counts(NamedTuple):
    """What a solver did, and how long its program took to compile."""

    num_steps: int
    num_iterations: int
    sweep_equivalents: float
    compile_s: float


def sweep_flops(network: PixelCNNPPNetwork, batch_size: int) -> float:
    """Multiplications and additions of one sweep, counted from the kernels and the pixels that each is applied to."""
    height, width, _ = network.image_shape

    def cost(layer: Any, level: int) -> float:
        return 2.0 * layer.weight.folded().kernel.size * (height >> level) * (width >> level)

    inputs = [network.vertical_input, network.above_input, network.left_input, network.output]
    total = sum(cost(layer, 0) for layer in inputs)
    for stack in (network.vertical, network.horizontal):
        for level in range(LEVELS):
            for block in stack.blocks(level):
                layers = [block.first, block.second, *([block.skip] if block.skip is not None else [])]
                total += sum(cost(layer, level) for layer in layers)
        total += sum(cost(layer, i + 1) for pair in (stack.shrink, stack.grow) for i, layer in enumerate(pair))
    return batch_size * total


def measure(checkpoint: str, batch_size: int, rounds: int) -> tuple[dict[str, Times], dict[str, Counts], float]:
    """Times by name, what the solvers did, and the floating-point operations of a sweep of the batch."""
    model = load_checkpoint(checkpoint).model
    network = model.fold()
    timers: dict[str, Callable[[], float]] = {"matrix_product": product_timer(MATRIX)}
    counts: dict[str, Counts] = {}

    def add(solvers: dict[str, Solver], batch: int, suffix: str = "") -> None:
        noise = model.draw_noise(jax.random.key(1234), batch)
        system = AutoregressiveSystem(network, model.head, noise)
        guess = system.initial_guess()
        sweep = jax.jit(lambda system, x: system.sweep(x)).lower(system, guess).compile()
        timers[f"sweep{suffix}"] = lambda: time_calls(lambda: sweep(system, guess), 5).median
        for name, solver in solvers.items():
            solve = CompiledSolve(system, solver)
            stats = follow(solve, lambda _: None).solution.stats
            counts[name + suffix] = Counts(
                int(stats.num_steps), int(stats.num_iterations), float(stats.sweep_equivalents), solve.compile_s
            )
            if name not in ONCE:
                timers[name + suffix] = partial(_seconds, solve)

    add({**REPEATED, **ONCE}, batch_size)
    add({"cached_sequential": CachedSequential()}, 1, ", batch 1")
    return in_turn(timers, rounds), counts, sweep_flops(network, batch_size)


def _seconds(solve: CompiledSolve) -> float:
    return follow(solve, lambda _: None).seconds


def limits(times: dict[str, Times], counts: dict[str, Counts], flops: float) -> list[Limit]:
    """The figures that this benchmark is held against."""
    unit = flops * times["matrix_product"].median / (2.0 * MATRIX**3)
    sweep, one = times["sweep"].median, times["sweep, batch 1"].median
    jacobi, windows = counts["jacobi"], counts["sliding_gs_jacobi, 7 rows"]
    blocks = 28
    return [
        Limit("a sweep, in times of its arithmetic as large matrix products (U)", sweep / unit, 2.5),
        Limit("cached sequential, in U", times["cached_sequential"].median / unit, 4.6),
        Limit("cached sequential at batch 1, in its sweeps", times["cached_sequential, batch 1"].median / one, 4.0),
        Limit("Jacobi, in its steps times one sweep", times["jacobi"].median / (jacobi.num_steps * sweep), 1.05),
        Limit("Jacobi's steps, of 784", jacobi.num_steps, 785),
        Limit(
            "sliding GS-Jacobi with 7 rows, sweep equivalents in Jacobi's",
            windows.sweep_equivalents / jacobi.sweep_equivalents,
            1 / 3,
        ),
        Limit("sliding GS-Jacobi with 7 rows, steps in Jacobi's", windows.num_steps / jacobi.num_steps, 1.5),
        Limit("Jacobi-GS over rows, rounds", counts["jacobi_gs, 1 row"].num_iterations, blocks + 1),
        Limit("the longest compilation, in seconds", max(c.compile_s for c in counts.values()), 20.0),
    ]


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="pixelcnnpp_mnist")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    times, counts, flops = measure(options.checkpoint, options.batch_size, options.rounds)
    held = limits(times, counts, flops)
    steps = {name: count.num_steps for name, count in counts.items()}
    report(f"PixelCNN++, {options.checkpoint}, batch {options.batch_size}", times, steps, "sweep", held)
    facts = {
        "checkpoint": options.checkpoint,
        "batch_size": options.batch_size,
        "sweep_flops": flops,
        "solvers": {name: count._asdict() for name, count in counts.items()},
    }
    save("pixelcnnpp", times, held, facts)
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
