"""Time WaveNet's generation with queues against real time and its own products: python -m benchmarks.wavenet.

Each figure is taken in turn with its lower bound, in one process: the chain of products on the newest values, which no
generator that does them one after the other can beat. The processes on one core are given it before JAX starts.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.limits import Limit, report, save
from models import describe_config
from models.wavenet.generation import begin, generate
from models.wavenet.model import WaveNet, WaveNetConfig
from runners.measure.timing import Times
from runners.wavenet_timing.pinned import can_pin, measure_pinned
from runners.wavenet_timing.speed import Speed, measure_speed

RATE = 16_000
SECONDS = 10  # of sound, in one go
BATCHES = (1, 16)
LIMITS = {1: 2.0, 16: 3.2}  # times of the chain


class Case(NamedTuple):
    """Where and for how many sequences at once a speed is measured."""

    batch_size: int
    one_core: bool

    @property
    def label(self) -> str:
        """The case in words, as tables and limits name it."""
        return f"batch {self.batch_size}, {'one core' if self.one_core else 'all cores'}"


def measure(repeats: int) -> dict[Case, Speed]:
    """Times for a sample of every sequence, on all cores and on one."""
    architecture = describe_config("wavenet", WaveNetConfig())
    requests = [
        {"batch_size": batch, "num_samples": SECONDS * RATE // batch, "repeats": repeats, "seed": 0}
        for batch in BATCHES
    ]
    speeds = [measure_speed(architecture, **request) for request in requests]
    found = {Case(batch, one_core=False): speed for batch, speed in zip(BATCHES, speeds, strict=True)}
    if can_pin():
        pinned = measure_pinned([{"architecture": dict(architecture), **request} for request in requests])
        found |= {Case(batch, one_core=True): speed for batch, speed in zip(BATCHES, pinned, strict=True)}
    return found


def memory_after(seconds: int) -> dict[int, int]:
    """Resident bytes of this process after 10 and after ``seconds`` seconds of sound, a second a call; Linux alone."""
    model = WaveNet(WaveNetConfig(), rngs=nnx.Rngs(0))
    network = model.fold()
    state = begin(network, jnp.zeros((0, 1), jnp.int32), jax.random.key(0))
    resident = {}
    for second in range(1, seconds + 1):
        ids, state = generate(network, model.greedy, state, RATE)
        jax.block_until_ready(ids)
        if second in (10, seconds):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident[second] = pages * resource.getpagesize()
    return resident


def limits(found: dict[Case, Speed]) -> list[Limit]:
    """The figures that this benchmark is held against."""
    held = []
    for case, speed in found.items():
        if case == Case(1, one_core=True):
            held.append(Limit(f"{case.label}, in times of real time at 16 kHz", speed.queues.median * RATE, 1.0))
        if case.one_core or not can_pin():
            ratio = speed.queues.median / speed.chain.median
            held.append(Limit(f"{case.label}, in times of the chain", ratio, LIMITS[case.batch_size]))
    return held


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=60, help="of sound, after which memory is looked at")
    options = parser.parse_args()
    found = measure(options.repeats)
    times: dict[str, Times] = {}
    for case, speed in found.items():
        times |= {f"queues, {case.label}": speed.queues, f"chain, {case.label}": speed.chain}
    held = limits(found)
    facts: dict[str, Any] = {"seconds_of_sound": SECONDS, "state_bytes": found[Case(1, one_core=False)].state_bytes}
    if can_pin():
        resident = memory_after(options.seconds)
        what = f"memory after {options.seconds} s of sound, in times of that after 10 s"
        held.append(Limit(what, resident[options.seconds] / resident[10], 1.02))
        facts["resident_bytes"] = {str(second): size for second, size in resident.items()}
    report("WaveNet, 2 x 14 layers of 128 channels: a sample", times, {}, "chain, batch 1, all cores", held)
    save("wavenet", times, held, facts)
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
