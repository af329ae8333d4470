"""Measure WaveNet's speed on one core: in a process that gives up the others before JAX starts its threads.

``measure_pinned`` starts it; the process reads a request from standard input and writes to standard output, both JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from common.paths import ROOT
from runners.experiment import RunFailure
from runners.measure.programs import silence_xla

if TYPE_CHECKING:
    from runners.wavenet_timing.speed import Speed


def can_pin() -> bool:
    """Whether this system lets a process choose its cores."""
    return hasattr(os, "sched_setaffinity")


def measure_pinned(requests: Sequence[Mapping[str, Any]]) -> list[Speed]:
    """``measure_speed`` on one core with each of the given arguments. Raises RunFailure where the process fails.

    Programs are compiled anew there: those of this process may be for several cores.
    """
    from runners.wavenet_timing.speed import SPEEDS

    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0"}
    line = [sys.executable, "-m", __name__]
    done = subprocess.run(line, input=json.dumps(requests), capture_output=True, text=True, cwd=ROOT, env=env)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RunFailure(f"the measurement on one core failed: {reason}")
    return SPEEDS.validate_json(done.stdout)


def _main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # interrupts are mostly served by the first
    silence_xla()
    from runners.wavenet_timing.speed import SPEEDS, measure_speed

    speeds = [measure_speed(**request) for request in json.load(sys.stdin)]
    sys.stdout.buffer.write(SPEEDS.dump_json(speeds))


if __name__ == "__main__":
    _main()
