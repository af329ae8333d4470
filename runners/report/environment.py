"""Where a run took place: device, versions, commit."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from runners.report.commit import git_commit
from solvers.trees.precision import matmul_precision

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def describe_environment(mesh: Mapping[str, int] = MappingProxyType({})) -> dict[str, Any]:
    """{device: {platform, kind, count, mesh, processes}, versions, precision, matmul_precision, git_commit}.

    ``mesh``: how many devices shared each axis; empty where there was one.
    """
    devices = jax.devices()
    device = {"platform": devices[0].platform, "kind": _device_kind(devices[0]), "count": len(devices)}
    return {
        "device": {**device, "mesh": dict(mesh), "processes": jax.process_count()},
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
        "precision": "float64" if jax.config.jax_enable_x64 else "float32",  # type: ignore[attr-defined]
        "matmul_precision": matmul_precision(),
        "git_commit": git_commit(),
    }


def _device_kind(device: Any) -> str:
    """The device's own name; for a CPU, which JAX calls just that, the processor's."""
    if device.platform != "cpu":
        return str(device.device_kind)
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.is_file() else ""
    names = re.findall(r"^model name\s*:\s*(.*?)\s*$", text, re.MULTILINE)
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {len(names)} cores" if names else name
