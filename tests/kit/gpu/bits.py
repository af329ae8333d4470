"""Promises of equal bits, tried on whichever device JAX has: python -m tests.kit.gpu.bits prints what was found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from solvers import GSJacobi, Jacobi, Newton, ParallelScan, Sequential, Solver, TraceOptions, from_function, solve
from solvers.trees.precision import full_products
from tests.kit.bank import affine_chain, tiny_gru, tiny_made, tiny_pixelcnnpp, tiny_wavenet

SYSTEMS: dict[str, tuple[Callable[[], Any], Solver]] = {
    "made": (lambda: tiny_made(64, 8, 0), GSJacobi(16)),
    "pixelcnnpp": (lambda: tiny_pixelcnnpp((4, 4, 1), 4, 0), Jacobi()),
    "wavenet": (lambda: tiny_wavenet(64, 4, 0), Jacobi()),
    "gru": (lambda: tiny_gru(64, 8, 0), Newton()),
    "affine": (lambda: affine_chain(64, 8, 0), ParallelScan()),
}
SIDE = 256  # of a matrix: a product large enough for the units of a GPU that round
ROUNDING = 1e-5  # of 256 products that are added up in float32, times ten; TF32 is off by 1e-3


def equal(x: Any, y: Any) -> bool:
    """Whether two states are equal, bit for bit."""
    pairs = zip(*map(jax.tree.leaves, (x, y)), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def broken(system: Any, solver: Solver) -> Iterator[str]:
    """What does not hold of a system's solves, a sentence each.

    The sweep is the same in Jacobi's program and in three others, which make different things of it. Between two runs
    of one program a device may still add in another order.
    """
    first, second = (solve(system, solver) for _ in range(2))
    if not equal(first.value, second.value):
        yield f"two solves by {type(solver).__name__} have other bits"
    answer = solve(system, Jacobi()).value
    others = {
        "Sequential's": solve(system, Sequential()).value,
        "that with a trace": solve(system, Jacobi(), trace=TraceOptions()).value,
        "a sweep of it in a program of its own": _swept(system, answer),
    }
    for name, other in others.items():
        if not equal(answer, other):
            yield f"Jacobi's answer has other bits than {name}"


@jax.jit
@full_products
def _swept(system: Any, x: Any) -> Any:
    """One sweep and nothing else, so that it has no neighbours."""
    return system.sweep(x)


def error_of_products() -> float:
    """How far a product of matrices in a solve is from the same in float64, in units of its largest value."""
    weights = jnp.tril(jax.random.normal(jax.random.key(0), (SIDE, SIDE)), -1)
    values = jax.random.normal(jax.random.key(1), (SIDE, SIDE))

    def equations(x: jax.Array, weights: jax.Array, values: jax.Array) -> jax.Array:
        return weights @ values + 0 * x

    found = solve(from_function(equations, jnp.zeros_like(values), weights, values, check=False), Jacobi()).value
    wanted = np.asarray(weights, np.float64) @ np.asarray(values, np.float64)
    return float(np.max(np.abs(np.asarray(found) - wanted)) / np.max(np.abs(wanted)))


def main() -> None:
    """Try all of it, and print a record: by system its broken promises, and the error of products."""
    error = error_of_products()
    found: dict[str, list[str]] = {
        "products": [] if error <= ROUNDING else [f"products are off by {error:.1e}, more than float32 rounds"]
    }
    for name, (make, solver) in SYSTEMS.items():
        found[name] = list(broken(make(), solver))
    print(json.dumps({"broken": found, "error_of_products": error}))


if __name__ == "__main__":
    main()
