"""Seconds of compiling PixelCNN++'s solvers, and of a tiny model's whole run: python -m benchmarks.compile.

Nothing is taken from the cache of compiled programs. For solvers of the shipped configs the time is split into
tracing (Python), lowering and the compiler's own, of the two programs that a run makes of it: one begins a solve, the
other goes on with it. The whole run is `python main.py` on a model of 64 pixels, from the start of its process to the
end, with pictures, by two solvers.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks.limits import Limit, report, save
from common.paths import ROOT
from models.weights.load import load_checkpoint
from runners.measure.timing import Times
from solvers import CachedSequential, GSJacobi, Jacobi, Sequential, SlidingGSJacobi, Solver, advance, start
from solvers.systems.autoregressive import AutoregressiveSystem

BATCH = 16  # as in the shipped configs
SOLVERS: dict[str, Solver] = {
    "sequential": Sequential(),
    "cached_sequential": CachedSequential(),
    "jacobi": Jacobi(),
    "gs_jacobi, 1 row": GSJacobi(block_size=28),
    "gs_jacobi, 7 rows": GSJacobi(block_size=196),
    "sliding_gs_jacobi, 15 rows": SlidingGSJacobi(block_size=420),
}
TINY = """\
# A tiny PixelCNN++ with random weights, by two solvers
runner: PixelCNNPPSamplerRunner
model: {name: pixelcnnpp, image_shape: [8, 8, 1], nr_resnet: 1, nr_filters: 4, nr_logistic_mix: 2}
solvers: [cached_sequential, jacobi]
batch_size: 3
repeats: 1
seed: 1
"""


@dataclasses.dataclass(frozen=True)
class Compilation:
    """Seconds of making a solver's two programs."""

    trace_s: float
    lower_s: float
    compile_s: float

    @property
    def total_s(self) -> float:
        """All three."""
        return self.trace_s + self.lower_s + self.compile_s


def compilation(system: Any, solver: Solver) -> Compilation:
    """Make both programs of a solver, as for any run on one device."""
    begin = jax.jit(lambda system: start(system, solver))
    first = begin.eval_shape(system)
    parts = [0.0, 0.0, 0.0]
    jax.clear_caches()
    for function, arguments in ((begin, (system,)), (advance, (system, solver, first, first.limit))):
        seconds = [time.perf_counter()]
        traced = function.trace(*arguments)
        seconds.append(time.perf_counter())
        lowered = traced.lower()
        seconds.append(time.perf_counter())
        lowered.compile()
        seconds.append(time.perf_counter())
        parts = [part + after - before for part, before, after in zip(parts, seconds, seconds[1:], strict=False)]
    return Compilation(*parts)


def tiny_run_s() -> float:
    """Seconds of a tiny model's whole run. Raises CalledProcessError where it fails."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's Python compiles what it imports once, not at each run
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "tiny.yml"
        config.write_text(TINY, encoding="utf-8")
        command = [sys.executable, str(ROOT / "main.py"), "--config", str(config), "--out", str(Path(folder) / "out")]
        begin = time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - begin


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SOLVERS, help="these solvers alone; nothing is saved then")
    parser.add_argument("--runs", type=int, default=3, help="whole runs of the tiny model")
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    runs = {"a tiny model's whole run": Times.of([tiny_run_s() for _ in range(options.runs)])} if options.runs else {}
    model = load_checkpoint("pixelcnnpp_mnist").model
    system = AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(1234), BATCH))
    found = {name: compilation(system, solver) for name, solver in SOLVERS.items() if name in (options.only or SOLVERS)}
    times = {name: Times.of([each.total_s]) for name, each in found.items()}
    held = [Limit(f"compiling {name}, in seconds", each.median, 4.0) for name, each in times.items()]
    held += [Limit(f"{name}, in seconds", each.median, 6.0) for name, each in runs.items()]
    report("Compiling PixelCNN++, pixelcnnpp_mnist, batch 16", times | runs, {}, next(iter(times)), held)
    if options.only is None:
        facts = {"batch_size": BATCH, "parts": {name: dataclasses.asdict(each) for name, each in found.items()}}
        save("compile", times | runs, held, facts)
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
