"""Where a run took place: device, versions, commit."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from common.paths import ROOT

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def describe_environment() -> dict[str, Any]:
    """{device: {platform, kind, count}, versions, precision, git_commit} for a results file."""
    devices = jax.devices()
    return {
        "device": {"platform": devices[0].platform, "kind": _device_kind(devices[0]), "count": len(devices)},
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
        "precision": "float64" if jax.config.jax_enable_x64 else "float32",  # type: ignore[attr-defined]
        "git_commit": _git_commit(),
    }


def _device_kind(device: Any) -> str:
    """The device's own name; for a CPU, which JAX calls just that, the processor's."""
    if device.platform != "cpu":
        return str(device.device_kind)
    cpuinfo = Path("/proc/cpuinfo")
    names = []
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {len(names)} cores" if names else name


def _git_commit() -> str | None:
    """The commit checked out, with "+" where files differ from it; None outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
