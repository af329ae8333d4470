"""Time prefix scans against a scan over a tree of pairs and against ``lax.scan``: python -m benchmarks.prefix_scan.

On a CPU ``lax.scan`` wins, as it does D^2 operations an equation where whatever combines matrices does D^3. Its time
stands beside the others, not as a limit but to say so: on few cores a parallel solve pays with machines in mind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from benchmarks.limits import Limit, in_turn, report, save
from runners.measure.timing import Times, time_calls
from solvers.linear.prefix_scan import affine_scan, chain_length, chunk_length, covariance_scan

SIZES = (1, 2, 4, 8)
BATCHES = (1, 16)
TREE, SCAN, SEQUENTIAL, COVARIANCES = "associative_scan of pairs", "affine_scan", "lax.scan", "covariance_scan"
WEIGHT = 1.0

System = tuple[Array, Array, Array]


def affine_system(length: int, batch: int, size: int, full: bool) -> System:
    """Matrices of norm about 0.9, so that states stay of order one."""
    keys = jax.random.split(jax.random.key(size), 3)
    shape = (length, batch, size)
    a = (
        jax.random.normal(keys[0], (*shape, size)) * 0.9 / size**0.5
        if full
        else 0.9 * jax.random.normal(keys[0], shape)
    )
    return a, jax.random.normal(keys[1], shape), jax.random.normal(keys[2], shape[1:])


def scan_of_pairs(a: Array, b: Array, initial: Array) -> Array:
    """The textbook's way: pairs (A, b) combined over a tree, in the layout that they come in."""

    def apply(matrix: Array, vector: Array) -> Array:
        return jnp.matmul(matrix, vector[..., None])[..., 0] if a.ndim == 4 else matrix * vector

    def combine(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        product = jnp.matmul(second[0], first[0]) if a.ndim == 4 else second[0] * first[0]
        return product, apply(second[0], first[1]) + second[1]

    scanned: tuple[Array, Array] = lax.associative_scan(combine, (a, b.at[0].add(apply(a[0], initial))))
    return scanned[1]


def scan_in_order(a: Array, b: Array, initial: Array) -> Array:
    """One equation after the other."""

    def step(y: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        moved = jnp.matmul(row[0], y[..., None])[..., 0] if a.ndim == 4 else row[0] * y
        following = moved + row[1]
        return following, following

    states: Array = lax.scan(step, initial, (a, b))[1]
    return states


def covariances(a: Array, b: Array, initial: Array) -> Array:
    """ELK's covariances, of the same matrices."""
    return covariance_scan(a, jnp.full(b.shape[1], WEIGHT))


def cases(length: int) -> dict[str, System]:
    """The systems by name."""
    return {
        f"{'full' if full else 'diagonal'}, {size} features, batch {batch}": affine_system(length, batch, size, full)
        for full in (True, False)
        for size in SIZES
        for batch in BATCHES
        if full or size > 1
    }


def timers(system: System) -> dict[str, Callable[[], float]]:
    """Every way to scan one system, compiled; the covariances of one sample only."""
    ways: dict[str, Any] = {
        TREE: scan_of_pairs,
        SCAN: affine_scan,
        SEQUENTIAL: scan_in_order,
        **({COVARIANCES: covariances} if system[1].shape[1] == 1 else {}),
    }
    compiled = {name: jax.jit(way).lower(*system).compile() for name, way in ways.items()}

    def timer(run: Any) -> Callable[[], float]:
        return lambda: time_calls(lambda: run(*system), 3).median

    return {name: timer(run) for name, run in compiled.items()}


def chain_limits(length: int) -> list[Limit]:
    """What makes a scan parallel."""
    return [
        Limit(f"the chain of steps at T = {length}", chain_length(length), length / 8 + 8),
        Limit("independent chunks", -(-length // chunk_length(length)), 8, at_least=True),
    ]


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    held, seconds = chain_limits(options.length), dict[str, Times]()
    chain = chain_length(options.length)
    steps = {SCAN: chain, COVARIANCES: chain, SEQUENTIAL: options.length}
    for case, system in cases(options.length).items():
        times = in_turn(timers(system), options.rounds)
        ratio = times[SCAN].median / times[TREE].median
        limits = [Limit(f"{case}: {SCAN} in times of {TREE}", ratio, 1.0)]
        report(f"T = {options.length}, {case}", times, steps, SEQUENTIAL, limits)
        held += limits
        seconds |= {f"{case}: {name}": t for name, t in times.items()}
    save("prefix_scan", seconds, held, {"length": options.length, "num_steps": steps})
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
