"""Programs for a GPU that need not be there: data sheets, compilation, and what a compiled program launches.

A compiler for a GPU needs its description and JAX's CUDA wheels (requirements-gpu.txt), and no GPU. Kernels,
conditionals, loops, temporaries, operations and bytes are facts of the compiled program. Times that are made of them
and of a data sheet are a model, and have to be called one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# Without a GPU nothing can be tried out on it, so a real run may pick other kernels for its products.
FLAGS = ("--xla_gpu_autotune_level=0", "--xla_gpu_enable_triton_gemm=false")
KERNEL_S = 3e-6  # what starting a kernel takes, a round number
ROUND_TRIP_S = 20e-6  # what the host takes to read a flag and go on, a round number


class GPU(NamedTuple):
    """What the compiler asks about a GPU, and its rates, from its maker's data sheet."""

    description: str
    capability: tuple[int, int]
    cores: int
    fpus_per_core: int
    clock_ghz: float
    memory_bytes: int
    bandwidth_b_s: float
    float32_flops_s: float  # without TF32, which would round the products
    l2_bytes: int
    shared_bytes_per_block: int  # the most that a kernel may ask for
    shared_bytes_per_core: int


# NVIDIA's data sheets and architecture white papers of the SXM modules of 80 GB.
GPUS = {
    "H100": GPU(
        "NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 1.98, 84942979072, 3.352e12, 67e12, 52428800, 232448, 233472
    ),
    "A100": GPU(
        "NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 1.41, 85899345920, 2.039e12, 19.5e12, 41943040, 166912, 167936
    ),
}


def target_config(gpu: GPU) -> str:
    """The description of a GPU as the compiler reads it."""
    major, minor = gpu.capability
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {gpu.shared_bytes_per_core} shared_memory_per_block_optin: {gpu.shared_bytes_per_block}
  threads_per_core_limit: 2048 core_count: {gpu.cores} fpus_per_core: {gpu.fpus_per_core}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {int(gpu.bandwidth_b_s)} l2_cache_size: {gpu.l2_bytes} clock_rate_ghz: {gpu.clock_ghz}
  device_memory_size: {gpu.memory_bytes} cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0"
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }} runtime_version {{ major: 13 minor: 0 patch: 0 }}
device_description_str: "{gpu.description}"
"""


def prepare(*more_flags: str) -> None:
    """Set the compiler's flags, before the first device is asked for."""
    cuda = [f"--xla_gpu_cuda_data_dir={folder}" for folder in _cuda_folders()]
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS, *cuda[:1], *more_flags]).strip()
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")


def _cuda_folders() -> Iterator[Path]:
    """Where pip has put the CUDA wheels, with the library that the compiler links into kernels."""
    for package in Path(jax.__file__).parents[1].glob("nvidia/cu*"):
        if (package / "nvvm").is_dir():
            yield package


def gpu_devices(name: str, count: int = 1) -> Any:
    """GPUs as the compiler sees them; None where the CUDA wheels are missing."""
    try:
        found = topologies.get_topology_desc(
            platform="cuda", target_config=target_config(GPUS[name]), topology=f"1x1x{count}"
        )
    except (RuntimeError, ValueError, NotImplementedError):
        return None
    return found.devices


@dataclass
class Part:
    """A computation of a compiled program: what it launches itself, and the loops and branches inside it."""

    kernels: Counter[str] = field(default_factory=Counter)
    loops: list[tuple[int | None, Part]] = field(default_factory=list)  # rounds (None: unknown), the body
    branches: list[list[Part]] = field(default_factory=list)  # of each conditional

    @property
    def launched(self) -> int:
        """The most kernels of one run: all rounds of loops of known length, one of others, the longer branches."""
        inside = sum((rounds or 1) * body.launched for rounds, body in self.loops)
        return self.kernels.total() + inside + sum(max(b.launched for b in each) for each in self.branches)

    @property
    def least(self) -> int:
        """The fewest kernels of one run: as ``launched``, with the shorter branches and no loop of unknown length."""
        inside = sum(rounds * body.least for rounds, body in self.loops if rounds)
        return self.kernels.total() + inside + sum(min(b.least for b in each) for each in self.branches)

    @property
    def round_trips(self) -> int:
        """How often one run may have to wait until the host has read a flag: conditionals, loops of unknown length."""
        inside = sum((rounds or 1) * body.round_trips + (rounds is None) for rounds, body in self.loops)
        return len(self.branches) + inside + sum(max(b.round_trips for b in each) for each in self.branches)

    @property
    def libraries(self) -> int:
        """Calls of libraries among the kernels that are launched."""
        own = sum(count for kind, count in self.kernels.items() if kind.startswith("__"))
        inside = sum((rounds or 1) * body.libraries for rounds, body in self.loops)
        return own + inside + sum(max(b.libraries for b in each) for each in self.branches)


def step_of(text: str) -> Part:
    """What one round of a program's loop over steps launches: its outermost loop whose number of rounds is unknown."""
    return next(body for rounds, body in parse(text).loops if rounds is None)


def modelled_s(gpu: GPU, flops: float, moved_bytes: float, kernels: int, round_trips: int) -> float:
    """Seconds of a piece of work, a model: the slower of arithmetic and memory, launches, and waits for the host."""
    work = max(flops / gpu.float32_flops_s, moved_bytes / gpu.bandwidth_b_s)
    return work + kernels * KERNEL_S + round_trips * ROUND_TRIP_S


_FREE = {
    "parameter",
    "constant",
    "get-tuple-element",
    "tuple",
    "bitcast",
    "while",
    "conditional",
    "call",
    "opt-barrier",
}


def parse(text: str) -> Part:
    """The parts of a compiled program, from its text."""
    lines: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        head = re.match(r"^(ENTRY )?%?([\w.\-<>]+) \(.*\{$", line)
        if head:
            name = "ENTRY" if head.group(1) else head.group(2)
            lines[name] = []
        elif name and line.startswith("  "):
            lines[name].append(line.strip())
    return _part(lines, "ENTRY")


def _part(lines: dict[str, list[str]], name: str) -> Part:
    part = Part()
    for line in lines.get(name, []):
        kind = _kind(line)
        if kind == "while":
            rounds = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            body = _found(r"body=%?([\w.\-]+)", line)
            part.loops.append((int(rounds.group(1)) if rounds else None, _part(lines, body)))
        elif kind == "conditional":
            several = re.search(r"branch_computations=\{([^}]*)\}", line)
            names = (
                several.group(1).split(",") if several else re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", line)
            )
            part.branches.append([_part(lines, each.strip().lstrip("%")) for each in names])
        elif kind == "custom-call":
            part.kernels[_found(r'custom_call_target="([^"]+)"', line)] += 1
        elif kind == "call":
            inner = _part(lines, _found(r"to_apply=%?([\w.\-]+)", line))
            part.kernels += inner.kernels
            part.loops += inner.loops
            part.branches += inner.branches
        elif kind and kind not in _FREE:
            part.kernels[kind] += 1
    return part


def _found(pattern: str, line: str) -> str:
    match = re.search(pattern, line)
    assert match is not None, line
    return match.group(1)


def _kind(line: str) -> str | None:
    """The operation of an instruction, which follows the type of its result."""
    right = line.split(" = ", 1)[-1]
    end = _closing(right) + 1 if right.startswith("(") else right.find(" ")
    match = re.match(r"([\w\-]+)\(", right[end:].strip())
    return match.group(1) if match else None


def _closing(text: str) -> int:
    """Where the bracket that a text begins with is closed."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place
    return len(text)


def compile_for(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The compiled program of a function of arrays, or their shapes, for one GPU of a name in ``GPUS``."""
    mesh = Mesh(gpu_devices(name), ("devices",), axis_types=(AxisType.Auto,))
    whole = NamedSharding(mesh, PartitionSpec())
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole),
        jax.eval_shape(lambda *a: a, *arguments),
    )
    return jax.jit(function).lower(*shapes).compile()
