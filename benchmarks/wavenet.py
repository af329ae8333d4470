"""Time WaveNet's generation with queues against real time and its own products: python -m benchmarks.wavenet.

Each figure is taken with its floor in turn, in one process: the chain of products on the newest values, which no
generator that does them one after the other can beat. The processes on one core are given it before JAX starts.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.limits import Limit, report, save
from models import describe_config
from models.generation import begin, generate
from models.wavenet import WaveNet, WaveNetConfig
from runners.timing import Times
from runners.wavenet_pinned import can_pin, measure_pinned
from runners.wavenet_speed import Speed, measure_speed

RATE = 16_000
SECONDS = 10  # of sound, in one go
BATCHES = (1, 16)
LONG = 600 * RATE  # ten minutes
LIMITS = {1: 2.0, 16: 3.2}  # times of the chain


def measure(repeats: int) -> dict[str, Speed]:
    """Times for a sample of every sequence, on all cores and on one."""
    architecture = describe_config("wavenet", WaveNetConfig())
    requests = [
        {"batch_size": batch, "num_samples": SECONDS * RATE // batch, "repeats": repeats, "seed": 0}
        for batch in BATCHES
    ]
    speeds = [measure_speed(architecture, **request) for request in requests]
    found = {f"batch {batch}, all cores": speed for batch, speed in zip(BATCHES, speeds, strict=True)}
    if can_pin():
        pinned = measure_pinned([{"architecture": dict(architecture), **request} for request in requests])
        found |= {f"batch {batch}, one core": speed for batch, speed in zip(BATCHES, pinned, strict=True)}
    return found


def working_bytes(num_samples: int) -> int:
    """What a call of ``generate`` needs besides its arguments and the class ids that it gives."""
    model = WaveNet(WaveNetConfig(), rngs=nnx.Rngs(0))
    network = model.fold()
    state = begin(network, jnp.zeros((0, 1), jnp.int32), jax.random.key(0))
    analysis: Any = generate.lower(network, model.greedy, state, num_samples).compile().memory_analysis()
    ids = 4 * num_samples
    return int(analysis.temp_size_in_bytes) + int(analysis.output_size_in_bytes) - ids


def limits(found: dict[str, Speed]) -> list[Limit]:
    """The figures that this benchmark is held against."""
    held = []
    for where, speed in found.items():
        if where == "batch 1, one core":
            held.append(Limit(f"{where}, in times of real time at 16 kHz", speed.queues.median * RATE, 1.0))
        if where.endswith("one core") or not can_pin():
            bound = LIMITS[int(where.split(",")[0].removeprefix("batch "))]
            held.append(Limit(f"{where}, in times of the chain", speed.queues.median / speed.chain.median, bound))
    return held


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found = measure(options.repeats)
    times: dict[str, Times] = {}
    for where, speed in found.items():
        times |= {f"queues, {where}": speed.queues, f"chain, {where}": speed.chain}
    held = limits(found)
    memory = {str(samples): working_bytes(samples) for samples in (RATE, LONG)}
    held.append(
        Limit("memory for ten minutes, in times of that for a second", memory[str(LONG)] / memory[str(RATE)], 1.1)
    )
    facts = {"seconds_of_sound": SECONDS, "state_bytes": found["batch 1, all cores"].state_bytes, "memory": memory}
    report("WaveNet, 2 x 14 layers of 128 channels: a sample", times, {}, "chain, batch 1, all cores", held)
    save("wavenet", times, held, facts)
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
