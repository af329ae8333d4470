"""Kill -9 at random moments of a tiny sampling run and of a tiny training: nothing is lost.

``python -m tests.fuzz.kills [N] [SEED]``: N moments of each, half of them while results are written. After a kill the
folder holds the old results whole or the new ones whole, with the user's own file beside them; and the training, given
again, ends with the history and the weights of one that was never stopped.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from common.paths import ROOT
from runners.cli.folder import Staging
from tests.kit.smallest import IMAGES, TRAINING

MADE = {"name": "made", "num_inputs": 36, "hidden_sizes": [8]}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "sampling": ("MADESamplerRunner", {"model": MADE, "batch_size": 2, "repeats": 1, "solvers": ["jacobi"]}),
    "training": (
        "TrainRunner",
        {
            **{"model": {**MADE, "num_inputs": 784}, **TRAINING, **IMAGES, "epochs": 4, "eval_draws": 1},
            **{"save_every_s": 0, "sample_every_epochs": 0, "state_dir": "FOLDER/state", "seed": 1},
        },
    ),
}
OURS = "notes.txt"


def start(kind: str, place: Path, seed: int) -> subprocess.Popen[bytes]:
    """The program on the config of a kind, with its results in ``place``/out."""
    runner, config = CONFIGS[kind]
    text = yaml.safe_dump({**config, "seed": seed}).replace("FOLDER", str(place))
    (place / "c.yml").write_text(text, encoding="utf-8")
    line = ["--runner", runner, "--config", str(place / "c.yml"), "--out", str(place / "out"), "--verbose", "warning"]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *line], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT
    )


def finished(kind: str, place: Path, seed: int) -> float:
    """Run to the end; the seconds that it took. Raises RuntimeError where it failed."""
    begun = time.monotonic()
    process = start(kind, place, seed)
    _, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{kind}: exit {process.returncode}: {err.decode()}")
    return time.monotonic() - begun


@cache
def unstopped(kind: str, seed: int) -> tuple[float, Any]:
    """How long a run takes that nobody stops, and what it finds."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        return finished(kind, place, seed), found(place / "out")


def found(out: Path) -> Any:
    """What results say, but for times and places: the samples' bytes, or the history, the weights and their header.

    In the bytes of a file of weights the header's keys have a random order.
    """
    record = json.loads((out / "results.json").read_text(encoding="utf-8"))
    if record["kind"] == "sampling":
        with np.load(out / "samples.npz", allow_pickle=False) as arrays:
            return {name: arrays[name].tobytes() for name in sorted(arrays)}
    history = [{key: value for key, value in entry.items() if key != "seconds"} for entry in record["history"]]
    weights = (out / "weights.safetensors").read_bytes()
    begin = 8 + int.from_bytes(weights[:8], "little")
    return history, json.loads(weights[8:begin]), weights[begin:]


def kill(process: subprocess.Popen[bytes], out: Path, dice: random.Random, usual_s: float) -> None:
    """Kill -9 at a random moment of the run, or of the writing of its results."""
    if dice.random() < 0.5:
        deadline, pause = time.monotonic() + dice.uniform(0.0, usual_s), 0.0
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
    else:
        while process.poll() is None and not list(out.glob(".trisolve-*")):
            time.sleep(0.001)
        pause = dice.choice((0.0, 0.01, 0.3, 1.0, 3.0)) * dice.random()
    time.sleep(pause)
    process.kill()
    process.communicate()


def left(out: Path) -> Any:
    """What a killed run left, after what the next one would do first: every file of the list, and no other."""
    Staging(out).discard()
    record = json.loads((out / "results.json").read_text(encoding="utf-8"))
    there = sorted(path.name for path in out.iterdir())
    if there != sorted([*record["files"], OURS]):
        raise AssertionError(f"the list has {record['files']}, the folder {there}")
    return found(out)


def case(kind: str, dice: random.Random) -> tuple[str, str | None]:
    """One kill: which results were there afterwards, and what was wrong with them."""
    with tempfile.TemporaryDirectory() as folder:
        place, (usual_s, new) = Path(folder), unstopped(kind, 2)
        _, old = unstopped(kind, 1)
        finished(kind, place, 1)
        (place / "out" / OURS).write_text("mine", encoding="utf-8")
        kill(start(kind, place, 2), place / "out", dice, usual_s)
        try:
            now = left(place / "out")
            if now not in (old, new):
                return "broken", "results are neither the old ones nor the new ones"
            finished(kind, place, 2)  # a training goes on
            if left(place / "out") != new:
                return "broken", "the run that came next did not find what one finds that nobody stopped"
        except (AssertionError, OSError, ValueError, RuntimeError) as error:
            return "broken", f"{type(error).__name__}: {error}"
        return ("new" if now == new else "old"), None


def run_all(count: int, seed: int) -> int:
    """So many kills of each kind; the exit code."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    faults = 0
    for kind in CONFIGS:
        ends: dict[str, int] = {}
        for number in range(count):
            end, fault = case(kind, random.Random(f"{seed}/{kind}/{number}"))
            ends[end] = ends.get(end, 0) + 1
            if fault is not None:
                faults += 1
                print(f"--- {kind} {number} of seed {seed}: {fault}", flush=True)
        print(f"{count} kills of a {kind}, seed {seed}: {ends}; {faults} faults", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    count, seed = ([int(text) for text in sys.argv[1:3]] + [20, 0][len(sys.argv[1:3]) :])[:2]
    sys.exit(run_all(count, seed))
