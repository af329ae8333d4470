"""Time the Newton family on a GRU's forward pass against one compiled scan: python -m benchmarks.newton.

On a CPU the scan wins: it does the work once, and Newton's method several times over. What Newton's method is held
against is its number of steps, its exactness, and the published code's ratio to a scan on the same kind of machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.limits import Limit, in_turn, report, save
from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import ForwardRNN
from runners.measure.timing import Times, time_calls
from solvers import ELK, Newton, QuasiELK, QuasiNewton, Solver, solve

LENGTH = 10_000
INPUTS = 2
SIZES = (2, 4, 8)
BATCHES = (16, 1)
SOLVERS: dict[str, Solver] = {
    "newton": Newton(),
    "quasi_newton": QuasiNewton(),
    "elk": ELK(),
    "quasi_elk": QuasiELK(),
}
CALLS = 3
RATIO = 7.0  # the published code's, at its worst for 2 to 8 hidden units
ELK_RATIO = 8.0  # at the largest size; its filter has several times the arithmetic of Newton's scan


class Found(NamedTuple):
    """What a solver did."""

    status: str
    num_steps: int
    deviation: float  # max |x - scan|


@jax.jit
def scan(system: ForwardRNN) -> Any:
    """One transition after the other, in one loop."""
    return system.forward_substitution(system.init_cache(), 0, system.num_equations)[0]


@partial(jax.jit, static_argnames="solver")
def parallel(system: ForwardRNN, solver: Solver) -> Any:
    """A whole solve as one program."""
    return solve(system, solver, throw=False)


def gru(hidden_size: int, batch_size: int) -> ForwardRNN:
    """A GRU as flax initializes it, on normal inputs."""
    cell = RNN(RNNConfig("gru", INPUTS, hidden_size), rngs=nnx.Rngs(0)).fold().cell
    return ForwardRNN.of(cell, jax.random.normal(jax.random.key(1), (LENGTH, batch_size, INPUTS)))


def measure(rounds: int) -> tuple[dict[str, Times], dict[str, Found]]:
    """Times by name, and what the solvers did."""
    timers: dict[str, Callable[[], float]] = {}
    found: dict[str, Found] = {}
    for hidden_size in SIZES:
        for batch_size in BATCHES:
            system, suffix = gru(hidden_size, batch_size), f", {hidden_size} hidden, batch {batch_size}"
            exact = scan(system)
            timers[f"scan{suffix}"] = _timer(scan, system)
            for name, solver in SOLVERS.items():
                run = partial(parallel, solver=solver)
                solution = run(system)
                deviation = float(jnp.max(jnp.abs(solution.value - exact)))
                found[name + suffix] = Found(solution.outcome.label, int(solution.stats.num_steps), deviation)
                timers[name + suffix] = _timer(run, system)
    return in_turn(timers, rounds), found


def _timer(function: Callable[[Any], Any], system: ForwardRNN) -> Callable[[], float]:
    return lambda: time_calls(lambda: function(system), CALLS).median


def limits(times: dict[str, Times], found: dict[str, Found]) -> list[Limit]:
    """The figures that this benchmark is held against."""
    held = []
    for batch_size in BATCHES:
        newton = found[f"newton, 2 hidden, batch {batch_size}"]
        held += [
            Limit(f"Newton's steps, 2 hidden, batch {batch_size}", newton.num_steps, 8),
            Limit(f"Newton's deviation from the scan, 2 hidden, batch {batch_size}", newton.deviation, 1e-6),
        ]
    for hidden_size in SIZES:
        for batch_size in BATCHES:
            suffix = f", {hidden_size} hidden, batch {batch_size}"
            ratio = times[f"newton{suffix}"].median / times[f"scan{suffix}"].median
            held.append(Limit(f"Newton, in times of the scan{suffix}", ratio, RATIO))
    for batch_size in BATCHES:
        suffix = f", {SIZES[-1]} hidden, batch {batch_size}"
        ratio = times[f"elk{suffix}"].median / times[f"newton{suffix}"].median
        held.append(Limit(f"ELK, in times of Newton{suffix}", ratio, ELK_RATIO))
    return held


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    times, found = measure(options.rounds)
    held = limits(times, found)
    steps = {name: solver.num_steps for name, solver in found.items()}
    report(f"GRU, T = {LENGTH:,}, {INPUTS} inputs", times, steps, f"scan, 2 hidden, batch {BATCHES[0]}", held)
    save("newton", times, held, {"num_equations": LENGTH, "solvers": {k: v._asdict() for k, v in found.items()}})
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
