"""What every runner leaves behind, held against what it left before: keys, arrays, and the bits of samples.

``pytest tests/test_goldens.py --write-goldens`` writes them anew, for a change that is meant; say so in its commit.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml

from runners.cli.main import main

GOLDENS = Path(__file__).resolve().parent / "goldens"
WAVENET = {"name": "wavenet", "dilations": [2, 1, 3], "num_hidden": 6, "num_classes": 9, "sample_rate": 1000}
DENSENET = {
    **{"name": "densenet", "growth_rate": 4, "block_layers": [2, 2], "num_init_features": 4, "num_classes": 10},
    **{"bn_size": 2, "image_shape": [28, 28, 1], "stem": "small", "pixel_mean": [0.13], "pixel_std": [0.3]},
}
TRAINING = {"batch_size": 50, "epochs": 2, "learning_rate": 0.01, "warmup_steps": 3, "ema_decay": 0.9}
IMAGES = {"max_train_images": 150, "max_held_out_images": 70, "max_shift": 1}

# The smallest config of each runner: (runner, config). FOLDER stands for a temporary folder.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "made": (
        "MADESamplerRunner",
        {
            "checkpoint": "made_mnist",
            "solvers": ["cached_sequential", "jacobi", {"name": "gs_jacobi", "block_size": 112}],
            **{"batch_size": 16, "repeats": 1, "seed": 1234},
        },
    ),
    "pixelcnnpp": (
        "PixelCNNPPSamplerRunner",
        {
            "model": {
                **{"name": "pixelcnnpp", "image_shape": [8, 8, 1], "nr_resnet": 1},
                **{"nr_filters": 4, "nr_logistic_mix": 2},
            },
            "solvers": ["sequential", "cached_sequential", "jacobi", {"name": "jacobi_gs", "block_size": 8}],
            **{"batch_size": 3, "repeats": 1, "seed": 1, "trace": False},
        },
    ),
    "wavenet": (
        "WaveNetSamplerRunner",
        {
            "checkpoint": "wavenet_speech",
            "head": {"name": "argmax"},
            "prompt": {"wav": None, "duration_s": 0.06},
            "solvers": [{"name": "cached_sequential"}, {"name": "jacobi", "trace": False}],
            **{"batch_size": 1, "num_samples": 200, "continue_s": 0.01, "repeats": 1, "seed": 1234},
        },
    ),
    "backprop": (
        "BackpropRunner",
        {
            **{"image_size": 4, "num_sequences": 3, "hidden_size": 6, "train_steps": 5, "trainings": 2, "repeats": 1},
            **{"init_scale": 0.5, "learning_rate": 0.1, "seed": 3},
            "solvers": ["sequential", "cached_sequential", "jacobi", "parallel_scan"],
            "methods": ["cached_sequential", {"name": "jacobi", "max_steps": 1}, "parallel_scan"],
        },
    ),
    "forward_rnn": (
        "ForwardRNNRunner",
        {
            "cells": {"gru": {"network": {"cell": "gru"}}},
            **{"batch_size": 2, "sequence_lengths": [8, 40], "state_size": 2, "state_sizes": [1, 2]},
            **{"sequence_length": 8, "sequential_max_length": 20, "repeats": 1, "seed": 3},
            "solvers": ["sequential", {"name": "newton", "max_steps": 12}, "cached_sequential"],
        },
    ),
    "rnn_classifier": (
        "RNNClassifierRunner",
        {
            **{"max_train_images": 60, "hidden_size": 3, "epochs": 2, "batch_size": 20},
            "solvers": ["cached_sequential", "newton"],
        },
    ),
    "densenet": (
        "DenseNetRunner",
        {
            "model": DENSENET,
            **{"num_images": 3, "batch_size": 2, "early_exit": {"k": [2, 1]}, "repeats": 1},
            "solvers": [
                {"name": "sequential", "trace": False},
                {"name": "segmented", "solver": "cached_sequential"},
                {"name": "jacobi"},
            ],
        },
    ),
    "stream": ("StreamRunner", {"model": {**WAVENET, "sample_rate": 16000}, "chunk_ms": 500, "check_s": 1.0}),
    "wavenet_timing": (
        "WaveNetTimingRunner",
        {
            **{"layers": [2, 3], "num_hidden": 4, "num_classes": 8, "num_samples": 64, "repeats": 2, "pin": False},
            "wide": [{"layers": 2, "batch_size": 3}],
        },
    ),
    "evaluate": ("EvaluateRunner", {"checkpoint": "made_mnist", "batch_size": 30, "max_images": 60}),
    "evaluate_classifier": ("EvaluateRunner", {"checkpoint": "densenet_mnist", "batch_size": 30, "max_images": 60}),
    "evaluate_wavenet": ("EvaluateRunner", {"checkpoint": "wavenet_speech_gated", "data": {"max_s": 0.1}}),
    "train": (
        "TrainRunner",
        {
            "model": {"name": "made", "num_inputs": 784, "hidden_sizes": [16]},
            **{**TRAINING, **IMAGES, "eval_draws": 1, "sample_every_epochs": 1},
            "state_dir": "FOLDER/state",
        },
    ),
    "train_classifier": (
        "TrainClassifierRunner",
        {"model": DENSENET, **TRAINING, **IMAGES, "sample_every_epochs": 1, "state_dir": "FOLDER/state"},
    ),
    "train_wavenet": (
        "TrainWaveNetRunner",
        {
            "model": {**WAVENET, "dilations": [1, 2], "num_classes": 16},
            "data": {"sample_rate": 1000},
            "chunk_size": 500,
            **{"epochs": 2, "learning_rate": 0.01, "warmup_steps": 3, "ema_decay": 0.9},
            "state_dir": "FOLDER/state",
        },
    ),
}
# Keys by what a user measures or names, not by what a runner has.
OPEN = {"versions", "device", "git_commit"}


def keys(value: Any) -> Any:
    """The shape of a record: keys with the kinds of their values; a list as its distinct items."""
    if isinstance(value, Mapping):
        return {name: "..." if name in OPEN else keys(item) for name, item in sorted(value.items())}
    if isinstance(value, list):
        kinds = [keys(item) for item in value]
        return [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def processor() -> str:
    """What bits depend on: the same program rounds otherwise on another processor or under another compiler."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, jax {jax.__version__}, numpy {np.__version__}"


def left_behind(case: str, folder: Path) -> dict[str, Any]:
    """Run a case and say what it left."""
    runner, config = CASES[case]
    text = yaml.safe_dump({"seed": 1, **config}).replace("FOLDER", str(folder))
    (folder / f"{case}.yml").write_text(text)
    assert main(["--runner", runner, "--config", str(folder / f"{case}.yml"), "--out", str(folder / "out")]) == 0
    out = folder / "out"
    found: dict[str, Any] = {
        "files": sorted(path.name for path in out.iterdir()),
        "record": keys(json.loads((out / "results.json").read_text())),
        "arrays": {},
    }
    for path in sorted(out.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found["arrays"][path.name] = {
                name: [str(arrays[name].dtype), [*arrays[name].shape]] for name in sorted(arrays)
            }
            if path.name == "samples.npz":
                bits = {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in sorted(arrays)}
                rough = {name: float(np.sum(arrays[name], dtype=np.float64)) for name in sorted(arrays)}
                found |= {"bits": bits, "sums": rough, "processor": processor()}
    return found


def golden(case: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((GOLDENS / f"{case}.json").read_text(encoding="utf-8"))
    return record


@pytest.mark.parametrize("case", CASES)
def test_a_run_leaves_what_it_left_before(case: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = left_behind(case, tmp_path)
    if request.config.getoption("--write-goldens"):
        GOLDENS.mkdir(exist_ok=True)
        (GOLDENS / f"{case}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    wanted = golden(case)
    for part in ("files", "record", "arrays"):
        assert found[part] == wanted[part], part
    if "sums" in wanted:
        assert found["sums"] == pytest.approx(wanted["sums"], rel=1e-3, abs=1e-4)
        if found["processor"] == wanted["processor"]:
            assert found["bits"] == wanted["bits"]


def test_every_runner_has_a_golden() -> None:
    from runners import RUNNERS

    published = {"CachedPixelCNNPPSamplerRunner", "JacobiGSPixelCNNPPSamplerRunner", "GSJacobiPixelCNNPPSamplerRunner"}
    assert {runner for runner, _ in CASES.values()} | published | {"SamplerRunner"} == set(RUNNERS)
