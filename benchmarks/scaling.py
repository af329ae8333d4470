"""What more devices save and cost, from compiled programs: python -m benchmarks.scaling.

Strong scaling divides one problem among 1, 2, 4 and 8 devices; weak scaling gives each device an eighth of it. Nothing
is run: the memory of a device, the collectives of a step and the bytes that they move are facts of the programs, for
virtual CPU devices and, where JAX's CUDA wheels are installed (no GPU is needed), for H100s. Two cores cannot show the
time of eight devices; for H100s a time is modelled from the data sheet, and called a model.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks.gpu_programs import GPUS, gpu_devices, modelled_s, prepare, step_of
from benchmarks.limits import FOLDER, Limit
from common.files import write_atomically
from models.made.model import MADE, MADEConfig
from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import ForwardRNN
from models.wavenet.model import WaveNet, WaveNetConfig
from runners.measure.layout import Layout, partition_specs
from runners.report.environment import describe_environment
from solvers import GSJacobi, Jacobi, Newton, Solver, advance, start
from solvers.systems.autoregressive import AutoregressiveSystem

FLAGS = "--xla_force_host_platform_device_count=8"
COUNTS = (1, 2, 4, 8)
BATCH, LENGTH = 256, 4096  # samples and equations of the problem that is divided
COLLECTIVES = ("all-reduce", "all-gather", "collective-permute", "all-to-all", "reduce-scatter")
WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "f64": 8}
NVLINK_B_S = 450e9  # of an H100, from the same data sheet as its other rates
COLLECTIVE_S = 10e-6  # what starting a collective takes, a round number


class Case(NamedTuple):
    """A solver on equations of any length and batch."""

    make: Callable[[int, int], Any]  # (T, batch)
    solver: Solver
    length: int = LENGTH
    batch: int = BATCH


class Program(NamedTuple):
    """A step of a solve on some devices, compiled."""

    devices: int
    memory_bytes: int  # of a device: arguments, results and temporaries, weights left out
    collectives: int  # in the loop over steps
    collective_bytes: int  # that a device has of their results
    modelled_step_s: float | None  # of an H100; None where the program is not for one


def made(length: int, batch: int, units: int = 512) -> AutoregressiveSystem:
    """A MADE of one hidden layer."""
    model = MADE(MADEConfig(length, (units,)), rngs=nnx.Rngs(0))
    return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(0), batch))


def wavenet(length: int, batch: int) -> AutoregressiveSystem:
    """A WaveNet of ten layers, whose dilations reach 512 samples."""
    model = WaveNet(WaveNetConfig(dilations=tuple(2**i for i in range(10)), num_hidden=32), rngs=nnx.Rngs(0))
    noise = model.draw_noise(jax.random.key(0), length, batch)
    return AutoregressiveSystem(model.fold(length), model.head, noise)


def gru(length: int, batch: int) -> ForwardRNN:
    """A GRU of eight units."""
    cell = RNN(RNNConfig("gru", 2, 8), rngs=nnx.Rngs(0)).fold().cell
    return ForwardRNN.of(cell, jax.random.normal(jax.random.key(0), (length, batch, 2)))


CASES = {
    "made, jacobi": Case(made, Jacobi(), length=1024),
    "made, gs_jacobi": Case(made, GSJacobi(128), length=1024),
    "made of 8,192 units, jacobi": Case(partial(made, units=8192), Jacobi(), length=3072, batch=4096),
    "wavenet, jacobi": Case(wavenet, Jacobi(), batch=8),
    "gru, jacobi": Case(gru, Jacobi(), batch=32),
    "gru, newton": Case(gru, Newton(), batch=32),
}


def lowered_step(system: Any, solver: Solver, mesh: Mesh | None) -> Any:
    """The program that takes steps, to be compiled for a mesh whose devices need not be there."""
    if mesh is not None:
        system = jax.tree.map(
            lambda leaf, spec: _shape(leaf, NamedSharding(mesh, spec)), system, partition_specs(system)
        )
    layout = Layout.of(system)
    whole = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    progress = jax.tree.map(
        lambda leaf: _shape(leaf, layout.sharding(leaf.shape) or whole),
        jax.eval_shape(lambda s: start(s, solver), system),
    )
    layouts = jax.tree.map(lambda leaf: leaf.sharding, progress)
    step = jax.jit(lambda s, p, until: advance(s, solver, p, until), out_shardings=layouts)
    return step.lower(system, progress, _shape(np.int32(0), whole))


def _shape(leaf: Any, sharding: NamedSharding | None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf), sharding=sharding)


def measured(system: Any, solver: Solver, mesh: Mesh | None, gpu: bool) -> Program:
    """The figures of a step's program."""
    compiled = lowered_step(system, solver, mesh).compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    sizes = collective_bytes(text)
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    used -= max(map(int, re.findall(r"s8\[(\d+)\]", text)), default=0)  # a GPU's library of products wants 32 MiB
    count = 1 if mesh is None else mesh.size
    flops = lowered_step(system, solver, None).cost_analysis()["flops"] / count if gpu else 0.0
    modelled = _modelled(flops, used, text, sizes) if gpu else None
    return Program(count, used - _weight_bytes(system, mesh), len(sizes), sum(sizes), modelled)


def _weight_bytes(system: Any, mesh: Mesh | None) -> int:
    """What a device has of the weights."""
    specs = partition_specs(system)
    part = "network" if isinstance(system, AutoregressiveSystem) else "cell"

    def bytes_of(leaf: Any, spec: PartitionSpec) -> int:
        shape = jnp.shape(leaf) if mesh is None else NamedSharding(mesh, spec).shard_shape(jnp.shape(leaf))
        return int(np.prod(shape)) * jnp.result_type(leaf).itemsize

    return sum(jax.tree.leaves(jax.tree.map(bytes_of, getattr(system, part), getattr(specs, part))))


def collective_bytes(text: str) -> list[int]:
    """The size of the result of every collective of a program, those before its loop left out."""
    inside = re.sub(r"(?ms)^ENTRY .*?^\}", "", text)
    found = re.findall(rf"= (.*?) (?:{'|'.join(COLLECTIVES)})(?:-start)?\(", inside)
    return [_bytes(result) for result in found]


def _bytes(result: str) -> int:
    shapes = re.findall(r"(\w+)\[([\d,]*)\]", result)
    return sum(WIDTHS.get(kind, 4) * int(np.prod([int(n) for n in sizes.split(",") if n])) for kind, sizes in shapes)


def _modelled(flops: float, memory_bytes: int, text: str, sizes: list[int]) -> float:
    """Seconds of a step on H100s: the slower of arithmetic and memory, the links, and what starting things takes.

    Memory, weights included, is counted as read or written once; collectives are kernels too.
    """
    part = step_of(text)
    step = modelled_s(GPUS["H100"], flops, memory_bytes, part.launched, part.round_trips)
    return float(step + len(sizes) * COLLECTIVE_S + 2 * sum(sizes) / NVLINK_B_S)


def mesh_of(devices: Any, axis: str, count: int) -> Mesh:
    """The first devices in a row."""
    shape = (count, 1) if axis == "batch" else (1, count)
    grid = np.asarray(devices)[:count].reshape(shape)
    return Mesh(grid, ("batch", "equations"), axis_types=(AxisType.Auto, AxisType.Auto))


def table(gpu: bool) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By case, and by axis and kind of scaling, the programs for 1, 2, 4 and 8 devices."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, case in CASES.items():
        for axis in ("batch", "equations"):
            for kind in ("strong", "weak"):
                rows = []
                for count in COUNTS:
                    less = 1 if kind == "strong" else COUNTS[-1] // count
                    length = case.length // (less if axis == "equations" else 1)
                    batch = case.batch // (less if axis == "batch" else 1)
                    devices = gpu_devices("H100", count) if gpu else jax.devices()
                    mesh = mesh_of(devices, axis, count) if gpu or count > 1 else None
                    rows.append(measured(case.make(length, batch), case.solver, mesh, gpu)._asdict())
                found.setdefault(name, {})[f"{axis}, {kind}"] = rows
                said = [f"{row['memory_bytes'] / 2**20:.2f} MiB, {row['collectives']} collectives" for row in rows]
                print(f"{name}, {axis}, {kind}: {'; '.join(said)}", flush=True)
    return found


def limits(found: dict[str, dict[str, list[dict[str, Any]]]]) -> list[Limit]:
    """The figures that this benchmark is held against."""
    held = []
    for name, axis in product(("made", "wavenet", "gru"), ("batch", "equations")):
        one, *_, eight = found[f"{name}, jacobi"][f"{axis}, strong"]
        ratio = eight["memory_bytes"] / one["memory_bytes"]
        held.append(Limit(f"memory of a device of 8 in that of one, {name}, jacobi, {axis}", ratio, 1 / 6))
    for axis, most in (("batch", 2), ("equations", 4)):
        eight = found["made, jacobi"][f"{axis}, strong"][-1]
        held.append(Limit(f"collectives a Jacobi step, MADE, {axis}", eight["collectives"], most))
    counts = {row["collectives"] for row in found["made, jacobi"]["equations, weak"][1:]}
    held.append(Limit("distinct numbers of collectives, T from 256 to 1024", len(counts), 1))
    return held


def main() -> int:
    """Compile, print, save; returns 1 where a limit is missed."""
    prepare(FLAGS)
    cpu = table(gpu=False)
    held = limits(cpu)
    gpus: Any = None
    if gpu_devices("H100") is None:
        print("H100s are left out: JAX's CUDA wheels are not installed (requirements-gpu.txt)")
    else:
        jax.default_backend = lambda: "gpu"  # code that asks is told what it is compiled for
        gpus = table(gpu=True)
    for limit in held:
        print(f"{limit.what}: {limit.ratio:.3g} (limit {limit.bound:.3g}): {'met' if limit.met else 'MISSED'}")
    record = {
        **describe_environment(),
        "batch": {name: case.batch for name, case in CASES.items()},
        "num_equations": {name: case.length for name, case in CASES.items()},
        "limits": {each.what: {"ratio": each.ratio, "limit": each.bound, "met": each.met} for each in held},
        "virtual_cpu": cpu,
        "h100_compiled_and_modelled": gpus,
    }
    write_atomically(FOLDER / "scaling.json", (json.dumps(record, indent=1) + "\n").encode())
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
