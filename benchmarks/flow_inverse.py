"""Time the slow direction of a flow of flowjax, by flowjax and by Jacobi: python -m benchmarks.flow_inverse.

It needs flowjax, which requirements.txt lacks. The flow is trained here, in less than a minute, on the 8x8 digits of
scikit-learn. docs/your-own-flow.md explains the equations.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import paramax
from flowjax.distributions import Normal
from flowjax.flows import masked_autoregressive_flow
from flowjax.train import fit_to_data
from jaxtyping import Array, Float
from sklearn.datasets import load_digits

from benchmarks.limits import Limit, in_turn, report, save
from runners.measure.timing import Times, time_calls
from solvers import Jacobi, from_function, solve

LAYERS, WIDTH, DEPTH = 8, 128, 2
SOLVERS = {"jacobi": Jacobi(), "jacobi, tol 1e-6": Jacobi(tol=1e-6)}


def digits() -> Float[Array, "N D"]:
    """The logit of uniformly dequantized pixels, kept away from 0 and 1."""
    pixels = load_digits().data
    inside = 0.05 + 0.9 * (pixels + np.random.RandomState(0).uniform(size=pixels.shape)) / 17.0
    return jnp.asarray(np.log(inside) - np.log1p(-inside), jnp.float32)


def trained_flow(max_epochs: int) -> Any:
    """The flow, and its surprisal of held-out digits in nats."""
    data = digits()
    base = Normal(jnp.zeros(data.shape[1]))
    flow = masked_autoregressive_flow(
        jax.random.key(0), base_dist=base, flow_layers=LAYERS, nn_width=WIDTH, nn_depth=DEPTH
    )
    flow, losses = fit_to_data(
        jax.random.key(1), flow, data, max_epochs=max_epochs, learning_rate=1e-3, show_progress=False
    )
    return flow, min(losses["val"])


def inverse_by(solver: Jacobi, rest: Any) -> Callable[[Float[Array, "B D"], Any], Any]:
    """A compiled function of noise and a flow's arrays: samples (B, D), and the steps and the status of each layer."""

    def inverse(x: Float[Array, "D B"], u: Float[Array, "D B"], arrays: Any) -> Float[Array, "D B"]:
        layer, _ = eqx.combine(arrays, rest).bijections

        def of_a_sample(x: Float[Array, " D"], u: Float[Array, " D"]) -> Float[Array, " D"]:
            params = layer.masked_autoregressive_mlp(x).reshape(len(x), -1)
            return jax.vmap(lambda p, u_t: layer.transformer_constructor(p).inverse(u_t))(params, u)

        return jax.vmap(of_a_sample, in_axes=1, out_axes=1)(x, u)

    def through_a_layer(x: Float[Array, "D B"], arrays: Any) -> Any:
        _, permutation = eqx.combine(arrays, rest).bijections
        u = jax.vmap(permutation.inverse, in_axes=1, out_axes=1)(x)
        solution = solve(from_function(inverse, u, u, arrays), solver)
        return solution.value, (solution.stats.num_steps, solution.status)

    @jax.jit
    def transform(noise: Float[Array, "B D"], arrays: Any) -> Any:
        x, how = jax.lax.scan(through_a_layer, noise.T, arrays, reverse=True)
        return x.T, how

    return transform


def measure(batch_size: int, rounds: int, max_epochs: int) -> tuple[dict[str, Times], dict[str, Any]]:
    """Medians by name, and what else there is to say. Raises AssertionError where a layer did not converge."""
    flow, surprisal = trained_flow(max_epochs)
    noise = flow.base_dist.sample(jax.random.key(2), (batch_size,))
    arrays, rest = eqx.partition(paramax.unwrap(flow.bijection), eqx.is_array)
    own = jax.jit(lambda noise, arrays: jax.vmap(eqx.combine(arrays, rest).transform)(noise))
    samples = own(noise, arrays)
    calls: dict[str, Callable[[], Any]] = {"flowjax": lambda: own(noise, arrays)}
    facts: dict[str, Any] = {"surprisal": surprisal, "num_steps": {}, "steps_by_layer": {}, "max_abs_difference": {}}
    layers, rest_of_layers = arrays.bijection.bijection, rest.bijection.bijection
    for name, solver in SOLVERS.items():
        transform = inverse_by(solver, rest_of_layers)
        found, (steps, status) = transform(noise, layers)
        assert not status.any(), name
        by_layer = np.asarray(steps)[::-1].tolist()  # in the order in which noise becomes data
        facts["steps_by_layer"][name], facts["num_steps"][name] = by_layer, sum(by_layer)
        facts["max_abs_difference"][name] = float(jnp.max(jnp.abs(found - samples)))
        calls[name] = partial(transform, noise, layers)
    facts["num_steps"]["flowjax"] = LAYERS * noise.shape[1]
    timers = {name: partial(_seconds, call) for name, call in calls.items()}
    return in_turn(timers, rounds), facts


def _seconds(call: Callable[[], Any]) -> float:
    return time_calls(call, 5).median


def limits(times: dict[str, Times], facts: dict[str, Any]) -> list[Limit]:
    """The figures that this benchmark is held against."""
    times_faster = [
        Limit(f"{name}, times faster than flowjax", times["flowjax"].median / times[name].median, 1.5, at_least=True)
        for name in SOLVERS
    ]
    differences = facts["max_abs_difference"].items()
    return [*times_faster, *(Limit(f"{name}, largest difference", found, 1e-4) for name, found in differences)]


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--max-epochs", type=int, default=30)
    options = parser.parse_args()
    times, facts = measure(options.batch_size, options.rounds, options.max_epochs)
    held = limits(times, facts)
    report(f"Inverse of a flow, batch {options.batch_size}", times, facts["num_steps"], "flowjax", held)
    packages = {name: metadata.version(name) for name in ("flowjax", "equinox", "paramax")}
    save("flow_inverse", times, held, {"batch_size": options.batch_size, "packages": packages, **facts})
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
