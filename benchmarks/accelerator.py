"""What solvers launch on a GPU, from compiled programs, and how long that may take: python -m benchmarks.accelerator.

No GPU is needed, only JAX's CUDA wheels (requirements-gpu.txt): every system of the shipped configs, in its size there
and with random weights, is compiled with its solvers for a GPU of a data sheet. Kernels, round trips to the host and
temporaries are facts of the programs. Times are modelled of them, and called a model. Without the wheels a sentence
says so, and nothing is written.

With ``--measure`` nothing is counted: the solvers run on the GPU of this machine, compiled as for any run there, and
what a step took is put beside the model that is in the results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.gpu_programs import (
    GPUS,
    KERNEL_S,
    ROUND_TRIP_S,
    Part,
    compile_for,
    gpu_devices,
    modelled_s,
    parse,
    prepare,
    step_of,
)
from benchmarks.limits import FOLDER, Limit
from common.files import write_atomically
from common.paths import REFERENCE
from models.densenet.model import DenseNet, DenseNetConfig
from models.densenet.systems import DenseNetSystem
from models.made.model import MADE, MADEConfig
from models.pixelcnnpp.model import PixelCNNPP, PixelCNNPPConfig
from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import ForwardRNN
from models.wavenet.model import WaveNet, WaveNetConfig
from runners.measure.timing import CompiledSolve, follow
from runners.report.environment import describe_environment
from solvers import (
    ELK,
    Anderson,
    CachedSequential,
    GSJacobi,
    Jacobi,
    JacobiGS,
    Newton,
    QuasiELK,
    QuasiNewton,
    Segmented,
    Sequential,
    SlidingGSJacobi,
    Solver,
    advance,
    start,
)
from solvers.linear.prefix_scan import affine_scan
from solvers.systems.autoregressive import AutoregressiveSystem
from solvers.trees.platform import on_cpu

PATH = FOLDER / "accelerator.json"


@dataclass(frozen=True)
class Case:
    """A system in the size of a shipped config, and solvers."""

    make: Callable[[], Any]
    solvers: Mapping[str, Solver]
    configs: tuple[str, ...] = ()  # whose results say how many steps the solvers took on trained weights
    published_s: Mapping[str, float] = field(default_factory=dict)  # a whole solve on a GPU that is not named


def made() -> AutoregressiveSystem:
    """MADE on 28x28 pixels, 100 samples."""
    model = MADE(MADEConfig(784, (512, 512)), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(0), 100))


def pixelcnnpp() -> AutoregressiveSystem:
    """PixelCNN++ on 28x28 pixels, 5 blocks a stage, 40 filters, 16 samples."""
    model = PixelCNNPP(PixelCNNPPConfig(), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(0), 16))


def wavenet() -> AutoregressiveSystem:
    """WaveNet of 2 x 14 layers, 2,000 sound samples of one sound."""
    model = WaveNet(WaveNetConfig(dilations=tuple(2**i for i in range(14)) * 2), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(2000), model.head, model.draw_noise(jax.random.key(0), 2000, 1))


def densenet201() -> DenseNetSystem:
    """DenseNet-201 on one photograph."""
    network = DenseNet(DenseNetConfig(block_layers=(6, 12, 48, 32)), rngs=nnx.Rngs(0)).fold()
    return DenseNetSystem.of(network, jnp.zeros((1, *network.image_shape)))


def gru() -> ForwardRNN:
    """A GRU of eight units, 10,000 steps of 16 sequences."""
    cell = RNN(RNNConfig("gru", 2, 8), rngs=nnx.Rngs(0)).fold().cell
    return ForwardRNN.of(cell, jax.random.normal(jax.random.key(0), (10_000, 16, 2)))


# Published: Song et al. (ICML 2021), tables of seconds a batch; Paine et al. (arXiv 1611.09482), read off a figure.
CASES = {
    "made": Case(
        made,
        {
            "sequential": Sequential(),
            "cached_sequential": CachedSequential(),
            "jacobi": Jacobi(),
            "gs_jacobi": GSJacobi(112),
            "jacobi_gs": JacobiGS(28),
            "anderson": Anderson(),
        },
        ("made_sampler",),
        {"sequential": 0.343, "jacobi": 0.0126},
    ),
    "pixelcnnpp": Case(
        pixelcnnpp,
        {
            "cached_sequential": CachedSequential(),
            "jacobi": Jacobi(),
            "gs_jacobi(block_size=112)": GSJacobi(112),
            "sliding_gs_jacobi(block_size=420)": SlidingGSJacobi(420),
            "jacobi_gs": JacobiGS(28),
        },
        ("cached_pixelcnnpp_sampler", "gs_jacobi_pixelcnnpp_sampler", "jacobi_gs_pixelcnnpp_sampler"),
        {"cached_sequential": 8.23, "jacobi": 1.94, "sliding_gs_jacobi(block_size=420)": 1.86, "jacobi_gs": 5.95},
    ),
    "wavenet": Case(
        wavenet,
        {"cached_sequential": CachedSequential(), "jacobi": Jacobi(), "jacobi_gs": JacobiGS(50)},
        ("wavenet_sampler",),
        {"cached_sequential": 2000 * 7.5e-3, "sequential": 2000 * 85e-3},
    ),
    "densenet201": Case(
        densenet201,
        {
            "sequential": Sequential(),
            "jacobi": Jacobi(),
            # A step of it is a block, which no shipped result has.
            "segmented(cached_sequential)": Segmented(CachedSequential()),
            "segmented(solver=jacobi)": Segmented(Jacobi()),
        },
        ("densenet201",),
    ),
    "gru": Case(
        gru,
        {
            "cached_sequential": CachedSequential(),
            "jacobi": Jacobi(),
            "newton": Newton(),
            "quasi_newton": QuasiNewton(),
            "elk": ELK(),
            "quasi_elk": QuasiELK(),
        },
    ),
}


def compiled_row(gpu: str, system: Any, solver: Solver) -> tuple[dict[str, Any], Part]:
    """The facts of one step of a solve on a GPU, the time modelled of them, and what the step launches."""
    progress = jax.eval_shape(lambda system: start(system, solver), system)

    def steps(system: Any, progress: Any) -> Any:
        return advance(system, solver, progress, 2**30)

    compiled = compile_for(gpu, steps, system, progress)
    step, memory = step_of(compiled.as_text()), compiled.memory_analysis()
    cost = jax.jit(steps).lower(system, progress).cost_analysis()
    flops = cost["flops"] if cost else 0.0
    moved = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    row = {
        "kernels": step.launched,
        "kernels_least": step.least,
        "library_calls": step.libraries,
        "round_trips": step.round_trips + 1,  # the last is the test whether another step is needed
        "temporaries_bytes": memory.temp_size_in_bytes,
        "flops": flops,
        "bytes": moved,
        "modelled_step_s": modelled_s(GPUS[gpu], flops, moved, step) + ROUND_TRIP_S,
    }
    return row, step


def steps_taken(case: Case) -> dict[str, int]:
    """Iterations of the solvers in the shipped results, by label."""
    found: dict[str, int] = {}
    for config in case.configs:
        rows = json.loads((REFERENCE / config / "results.json").read_text())["rows"]
        found |= {row["label"]: row["num_iterations"] for row in rows if row["status"] == "converged"}
    return found


_AT_ONCE = 8  # programs that are compiled at a time


def measure(names: list[str]) -> dict[str, dict[str, Any]]:
    """By "system, solver" the seconds of a solve on this machine's device, in the median of three, and of its steps.

    All is compiled first, many at a time, and runs by itself.
    """
    systems = {name: CASES[name].make() for name in names}
    pairs = [(name, label, systems[name], solver) for name in names for label, solver in CASES[name].solvers.items()]
    rows = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        solves = list(pool.map(lambda pair: _compiled(*pair), pairs))
    for (name, label, *_), solve in zip(pairs, solves, strict=True):
        done = [follow(solve, lambda _: None) for _ in range(4)][1:]
        seconds, iterations = sorted(one.seconds for one in done)[1], int(done[0].solution.stats.num_iterations)
        rows[f"{name}, {label}"] = {
            "compile_s": solve.compile_s,
            "solve_s": seconds,
            "iterations": iterations,
            "step_s": seconds / iterations,
        }
        print(f"{name}, {label}: {1e3 * seconds:.3f} ms, {iterations} steps", file=sys.stderr, flush=True)
    return rows


def _compiled(name: str, label: str, system: Any, solver: Solver) -> CompiledSolve:
    with jax.default_matmul_precision("float32"):  # which holds for one thread
        solve = CompiledSolve(system, solver)
    print(f"{name}, {label}: compiled in {solve.compile_s:.1f} s", file=sys.stderr, flush=True)
    return solve


def table(gpu: str, names: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Part]]:
    """By "system, solver" the row of each, and what its step launches."""
    rows: dict[str, dict[str, Any]] = {}
    parts: dict[str, Part] = {}
    for name in names:
        case = CASES[name]
        system, taken = case.make(), steps_taken(case)
        for label, solver in case.solvers.items():
            row, parts[f"{name}, {label}"] = compiled_row(gpu, system, solver)
            iterations = taken.get(label)
            row["iterations"] = iterations
            row["modelled_solve_s"] = None if iterations is None else iterations * row["modelled_step_s"]
            row["published_solve_s"] = case.published_s.get(label)
            rows[f"{name}, {label}"] = row
            print(f"{gpu}: {name}, {label}: {row['kernels']} kernels", file=sys.stderr, flush=True)
    return rows, parts


def affine_scan_kernels(gpu: str, features: int) -> int:
    """The kernels of an affine scan over 10,000 equations of 16 samples."""
    a, b = jnp.zeros((10_000, 16, features, features)), jnp.zeros((10_000, 16, features))
    return parse(compile_for(gpu, affine_scan, a, b, b[0]).as_text()).launched


def densenet_kernels_a_group(gpu: str) -> float:
    """The kernels of a sweep over all layers of DenseNet-201, for each group of layers."""
    system = densenet201()
    text = compile_for(gpu, lambda system, x: system.sweep(x), system, system.initial_guess()).as_text()
    return parse(text).launched / sum(len(block.groups) for block in system.network.blocks)


def an_equation(part: Part) -> Part:
    """The innermost loop of a step of forward substitution: one equation."""
    while part.loops:
        part = max((body for _, body in part.loops), key=lambda body: body.launched)
    return part


def limits(gpu: str, parts: Mapping[str, Part]) -> list[Limit]:
    """The figures that this benchmark is held against, of the cases that were compiled."""
    pixel, sample, step = ("pixelcnnpp, cached_sequential", "wavenet, cached_sequential", "gru, cached_sequential")
    found: dict[str, Callable[[], tuple[float, float]]] = {
        "made, jacobi": lambda: (parts["made, jacobi"].launched, 12),
        "pixelcnnpp, jacobi": lambda: (parts["pixelcnnpp, jacobi"].launched, 330),
        "wavenet, jacobi": lambda: (parts["wavenet, jacobi"].launched, 110),
        "gru, newton": lambda: (parts["gru, newton"].launched, 90),
    }
    held = [Limit(f"kernels a step, {name}", *value()) for name, value in found.items() if name in parts]
    if "made, jacobi" in parts:
        held.append(Limit("round trips a step, made, jacobi", parts["made, jacobi"].round_trips, 0))
    if pixel in parts:
        here = an_equation(parts[pixel])
        held.append(Limit("kernels a cached pixel without the lower levels", here.least, 75))
        held.append(Limit("kernels a cached pixel with both lower levels", here.launched, 150))
    if sample in parts:
        held.append(Limit("kernels a sound sample by queues", an_equation(parts[sample]).launched, 40))
    if step in parts:
        held.append(Limit("kernels an equation of an RNN by a scan", an_equation(parts[step]).launched, 4))
    for features, bound in ((2, 45), (16, 55)):
        held.append(Limit(f"kernels an affine scan of {features} features", affine_scan_kernels(gpu, features), bound))
    if "densenet201, jacobi" in parts:
        held.append(Limit("kernels a group of layers, a sweep of DenseNet-201", densenet_kernels_a_group(gpu), 4))
    return held


def report(gpu: str, rows: Mapping[str, Mapping[str, Any]], held: list[Limit]) -> None:
    """Print the table of what is modelled, and the limits."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    facts = ("a step of", "kernels", "library", "round trips", "MiB", "model, ms")
    title = f"{GPUS[gpu].description}: compiled; times are a model"
    shown = Table(*facts, "solve, model", "published", title=title)
    for name, row in rows.items():
        least, most = row["kernels_least"], row["kernels"]
        seconds = [row["modelled_solve_s"], row["published_solve_s"]]
        shown.add_row(
            name,
            f"{least} - {most}" if least < most else str(most),
            str(row["library_calls"]),
            str(row["round_trips"]),
            f"{row['temporaries_bytes'] / 2**20:.1f}",
            f"{1e3 * row['modelled_step_s']:.3f}",
            *("" if value is None else f"{value:.4g} s" for value in seconds),
        )
    console.print(shown)
    assumed = f"{1e6 * KERNEL_S:.0f} us a kernel, {1e6 * ROUND_TRIP_S:.0f} us a round trip, the sheet's rates"
    console.print(f"Assumed: {assumed}; operations and bytes of loops inside a step are counted once.")
    for limit in held:
        verdict = "met" if limit.met else "MISSED"
        console.print(f"{limit.what}: {limit.ratio:.3g} (<= {limit.bound:.3g}: {verdict})", highlight=False)


def report_measured(
    kind: str, rows: Mapping[str, Mapping[str, Any]], modelled: Mapping[str, Mapping[str, Any]]
) -> None:
    """Print what was measured on a kind of device, beside what is modelled for it, where that is."""
    names = ("a step of", "kernels", "model, ms", "measured, ms", "steps of a solve", "a solve, ms", "compiled in, s")
    shown = Table(*names, title=f"{kind}: measured on random weights")
    for name, row in rows.items():
        model = modelled.get(name)
        shown.add_row(
            name,
            "" if model is None else str(model["kernels"]),
            "" if model is None else f"{1e3 * model['modelled_step_s']:.3f}",
            f"{1e3 * row['step_s']:.3f}",
            str(row["iterations"]),
            f"{1e3 * row['solve_s']:.3f}",
            f"{row['compile_s']:.1f}",
        )
    Console(width=None if sys.stdout.isatty() else 140).print(shown)


def measured(names: list[str]) -> int:
    """Measure on this machine's GPU, print, save."""
    if on_cpu():
        print("--measure needs a GPU, and JAX finds none", file=sys.stderr)
        return 2
    kind, rows, record = jax.devices()[0].device_kind, measure(names), saved()
    modelled = [record[name]["rows"] for name, gpu in GPUS.items() if gpu.description == kind and name in record]
    report_measured(kind, rows, modelled[0] if modelled else {})
    if set(names) < set(CASES):
        print("Not saved, as it is a part of the table.")
        return 0
    here = {**describe_environment(), "matmul_precision": "float32", "rows": rows}
    save({**record, "measured": {**record.get("measured", {}), kind: here}})
    return 0


def saved() -> dict[str, Any]:
    """The results so far, by the GPU."""
    found: dict[str, Any] = json.loads(PATH.read_text()) if PATH.is_file() else {}
    return found


def save(record: Mapping[str, Any]) -> None:
    """Write all results."""
    write_atomically(PATH, (json.dumps(record, indent=1) + "\n").encode())


def main() -> int:
    """Compile, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", choices=sorted(GPUS), default="H100", help="whose data sheet")
    parser.add_argument("--only", choices=sorted(CASES), nargs="+", default=sorted(CASES), help="these systems alone")
    parser.add_argument("--measure", action="store_true", help="time solves on this machine's GPU, and count nothing")
    options = parser.parse_args()
    if options.measure:
        return measured(options.only)
    prepare()
    if gpu_devices(options.gpu) is None:
        print("JAX's CUDA wheels are not installed: pip install -r requirements-gpu.txt")
        return 0
    jax.default_backend = lambda: "gpu"  # code that asks is told what it is compiled for
    rows, parts = table(options.gpu, options.only)
    held = limits(options.gpu, parts)
    report(options.gpu, rows, held)
    if set(options.only) < set(CASES):
        print("Not saved, as it is a part of the table.")
        return 0 if all(limit.met for limit in held) else 1
    counted = {
        **describe_environment(),
        "assumed": {"kernel_s": KERNEL_S, "round_trip_s": ROUND_TRIP_S, "data_sheet": GPUS[options.gpu]._asdict()},
        "rows": rows,
        "limits": {limit.what: {"count": limit.ratio, "limit": limit.bound, "met": limit.met} for limit in held},
    }
    save({**saved(), options.gpu: counted})
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
