"""Processes of the smoke list: runs of the program, and what JAX says about its devices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.paths import ROOT
from runners.cli.flags import DEVICES
from tests.kit.smallest import CASES

LIMIT_S = 400.0
DEVICE_FILES = Path("/dev")  # where NVIDIA's driver has a file for each GPU, nvidia0, nvidia1, ...
INSTALLING = f"{sys.executable} -m pip install -r requirements-gpu.txt adds what JAX needs for it"
# Several processes share the GPU, of which each would take three quarters of the memory at once.
SHARING = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
_DESCRIBE = """
import json
from runners.report.environment import describe_environment
print(json.dumps(describe_environment()))
"""


class BrokenInstallError(Exception):
    """JAX does not run, or not on the GPU that there is; the message is one sentence."""


@dataclass(frozen=True)
class Run:
    """One run of the program."""

    code: int | None  # None: it was not done in time
    seconds: float  # of the whole process
    last: str  # the last line that it said on standard error
    out: Path  # the folder of its results


def python(*arguments: str, device: str | None = None) -> subprocess.CompletedProcess[str]:
    """Python at the root of the repository, on a kind of device or on JAX's choice. Raises subprocess.TimeoutExpired.

    This process starts no JAX of its own, so that the memory of the device is that of the others.
    """
    chosen = {} if device is None else {"JAX_PLATFORMS": DEVICES[device]}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **SHARING, **chosen},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a process said last on standard error, as a failure is told there, with paths as the repository has them."""
    return (done.stderr.strip().splitlines() or ["it said nothing"])[-1].replace(f"{ROOT}/", "")


def describe(device: str) -> dict[str, Any] | None:
    """The environment of results.json where JAX has such a device; None where the machine has no GPU.

    Raises BrokenInstallError where JAX does not start, or leaves a GPU alone.
    """
    try:
        done = python("-c", _DESCRIBE, device="cpu" if device == "cpu" else None)
    except subprocess.TimeoutExpired as error:
        raise BrokenInstallError(f"JAX has not told its devices after {error.timeout:g} s") from None
    if done.returncode:
        raise BrokenInstallError(f"JAX does not start: {last_line(done)}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    platform = found["device"]["platform"]
    if platform == device:
        return found
    if platform != "cpu":
        raise BrokenInstallError(f"JAX computes on a {platform}, and not on a {device}")
    gpu = next(DEVICE_FILES.glob("nvidia[0-9]*"), None)
    if gpu is not None:
        raise BrokenInstallError(
            f"JAX finds no GPU, but there is {gpu}, as where NVIDIA's driver has one: {INSTALLING}, and "
            "JAX_PLATFORMS must not keep JAX from it"
        )
    return None


def run_case(case: str, device: str, folder: Path) -> Run:
    """Run a case of ``smallest`` by the command line, in a new ``folder``."""
    folder.mkdir(parents=True)
    runner, config = CASES[case]
    path, out = folder / f"{case}.yml", folder / "out"
    path.write_text(yaml.safe_dump({"seed": 1, **config}).replace("FOLDER", str(folder)), encoding="utf-8")
    line = ("main.py", "--runner", runner, "--config", str(path), "--out", str(out), "--verbose", "warning")
    begin = time.perf_counter()
    try:
        done = python(*line, "--device", device)
    except subprocess.TimeoutExpired:
        return Run(None, LIMIT_S, f"not done after {LIMIT_S:g} s", out)
    return Run(done.returncode, time.perf_counter() - begin, last_line(done), out)
