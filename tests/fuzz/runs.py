"""Tiny real runs with random options, right and wrong ones: each ends as it says it does.

``python -m tests.fuzz.runs [N] [SEED]``. A run that is done has results in strict JSON, whose solvers converged if it
compares samplers; one that failed has an exit code and a sentence; one that was refused has left nothing. None takes
longer than a minute.
"""

from __future__ import annotations

import copy
import gc
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import yaml

from runners import RUNNERS
from solvers import SOLVERS
from tests.fuzz.program import Outcome, call, fuzz
from tests.kit.smallest import CASES, TRAINING, WAVENET

MADE = {"name": "made", "num_inputs": 12, "hidden_sizes": [6]}
PIXELS = {"name": "pixelcnnpp", "image_shape": [4, 8, 3], "nr_resnet": 1, "nr_filters": 2, "nr_logistic_mix": 2}
SOUND = {**WAVENET, "sample_rate": 16000}

# The runs to begin with, each as small as it can be; those of the goldens that are not named here serve as they are.
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: CASES[name]
        for name in CASES
        if name not in ("made", "wavenet", "pixelcnnpp", "train", "train_classifier")
    },
    "made": ("MADESamplerRunner", {"model": MADE, "batch_size": 2, "repeats": 1, "solvers": ["jacobi"]}),
    "pixelcnnpp": ("SamplerRunner", {"model": PIXELS, "batch_size": 1, "repeats": 1, "solvers": ["cached_sequential"]}),
    "wavenet": (
        "WaveNetSamplerRunner",
        {
            "model": SOUND,
            "num_samples": 20,
            "batch_size": 2,
            "repeats": 1,
            "solvers": ["jacobi"],
            "head": {"name": "argmax"},
        },
    ),
    "train": (
        "TrainRunner",
        {
            **{"model": {"name": "made", "num_inputs": 784, "hidden_sizes": [4]}, **TRAINING, "epochs": 1},
            **{"max_train_images": 60, "max_held_out_images": 20, "state_dir": "FOLDER/state"},
        },
    ),
}
# Options by key, right and wrong ones; none makes a run a long one.
OPTIONS: dict[str, list[Any]] = {
    "seed": [0, 2**32 - 1, 2**32, -1],
    "batch_size": [1, 2, 3, 0, None],
    "repeats": [1, 2, 0],
    "trace": [True, False, "maybe"],
    "time_limit_s": [None, 1e-9, 5.0, 0, "soon"],
    "num_samples": [1, 2, 37, 0],
    "continue_s": [0, 0.001, 0.01, -1],
    "initial_value": [-1, 0.5, 1.5],
    "head": [{}, {"name": "argmax"}, {"name": "gumbel", "temperature": 0.5}, {"temperature": 0}, {"name": "x"}],
    "prompt": [None, {}, {"duration_s": 0.01}, {"duration_s": 1e9}, {"wav": "nowhere.wav"}, {"file": "/dev/null"}],
    "guess": ["repeat_last", "noise_free", "n_gram", {"name": "n_gram", "n": 0}, {"n": 2}, "nowhere.npz", "FOLDER"],
    "noise_file": [None, "nowhere.npz", "/dev/null", "FOLDER", "~nosuch/x.npz"],
    "known_pixels": [
        None,
        {"data": {"name": "mnist5k"}, "rows": 1},
        {"images": "nowhere.npz", "pixels": 2},
        {"rows": 1},
    ],
    "checkpoint": [None, "made_mnist", "densenet_mnist", "nowhere", "/dev/null", "FOLDER", "~nosuch/w.pth"],
    "wav": [None, "nowhere.wav", "/dev/null", "FOLDER", "~nosuch/x.wav", "#1.wav"],
    "chunk_ms": [100.0, 500.0, 0.001],
    "chunk_samples": [5000, 0, None],
    "check_s": [0.0, 0.1, 1e9],
    "gain": [0.5, 1e30, 0],
    "save_state": ["FOLDER/kept.npz", "FOLDER", "/dev/null/x"],
    "restore_state": ["nowhere", "/dev/null", None],
    "cell": ["elman", "gru", "lstm", "para_lstm", "lru", "x"],
    "hidden_size": [1, 2, 0],
    "activation": [None, "tanh", "x"],
    "image_size": [1, 2, 4, 0],
    "num_sequences": [1, 2],
    "num_images": [1, 2, 10**9],
    "train_steps": [1, 2],
    "trainings": [1, 2],
    "learning_rate": [0.01, 1e30, 0, 1e-30],
    "init_scale": [0.0, 0.1, 1e20, None],
    "sequence_lengths": [[1], [3, 2], [], [0]],
    "sequence_length": [1, 5],
    "state_sizes": [[1], [2, 1], []],
    "state_size": [1, 3],
    "memory_limit_mib": [1e-6, 100, 0],
    "sequential_max_length": [1, 10],
    "epochs": [1, 2, 0],
    "stop_after": [1, None],
    "eval_every_epochs": [1, 2],
    "sample_every_epochs": [0, 1, None],
    "save_every_s": [0, 100],
    "lr_schedule": ["constant", "cosine", "x"],
    "warmup_steps": [0, 3, 1000],
    "weight_decay": [0.0, 0.5, 1e30],
    "grad_clip": [None, 1e-3],
    "ema_decay": [0.0, 0.9, 1.0],
    "weights_dtype": ["float16", "float32", "float8"],
    "checkpoint_name": ["Not a name", "../x"],
    "state_dir": ["FOLDER/s", "/dev/null", "/dev/null/x"],
    "max_train_images": [1, 100, None],
    "max_held_out_images": [1, 20],
    "max_images": [1, 3],
    "max_shift": [0, 1, 100],
    "label_smoothing": [0.0, 0.1, 1.0],
    "draws": [1, 2],
    "part": ["train", "held_out", "x"],
    "data": [
        {},
        {"name": "mnist5k"},
        {"name": "x"},
        {"name": "mnist", "root": "/dev/null"},
        {"max_s": 0.1},
        {"wav": "x.wav"},
    ],
    "chunk_size": [1000, 1, 10**6],
    "layers": [[2], [1], []],
    "block": ["plain", "gated", "x"],
    "num_hidden": [1, 3],
    "num_classes": [2, 5, 1],
    "wide": [[], [{"layers": 1, "batch_size": 2}], [{}]],
    "pin": [True, False],
    "early_exit": [{"k": 1}, {"k": [1, 3]}, {"k": []}],
    "model": [MADE, PIXELS, SOUND, {**MADE, "num_inputs": 1}, {**SOUND, "block": "gated"}, {"name": "rnn"}, {}],
    "model.num_inputs": [1, 2, 7, 0],
    "model.hidden_sizes": [[1], [3, 3], []],
    "model.image_shape": [[4, 4, 1], [4, 3, 1], [1, 1, 1]],
    "model.dilations": [[1], [1, 1], [3, 1], [0], [1000, 1]],
    "model.filter_width": [2, 3, 1],
    "model.num_classes": [2, 11],
    "model.quantization": ["mu_law", "linear", "x"],
    "model.input": ["one_hot", "embedded", "x"],
    "model.global_classes": [2],
    "model.local_size": [2],
    "model.stem": ["small", "large", "x"],
    "model.block_layers": [[1], [1, 1], []],
    "solvers": [],  # drawn below
    "methods": [],
}
SOLVER_OPTIONS: dict[str, list[Any]] = {
    "max_steps": [1, 2, 10_000_000, 0],
    "tol": [0.0, 1e-3, -1.0, float("nan")],
    "block_size": [1, 2, 3, 4, 8, 10**9, 0],
    "damping": [0.5, 1.0, 0.0],
    "trace": [False, True],
    "repeats": [1, 2],
    "history_size": [1, 3, 0],
    "solver": ["cached_sequential", "jacobi", "gs_jacobi", {"name": "jacobi_gs", "block_size": 2}, "segmented", "x"],
    "probes": [0, 1],
    "memory_mib": [1e-6, 10.0],
    "max_jacobian_mib": [1, 0],
    "chunk_size": [0, 3],
}
# Of these kinds every row is a solver of samples, and a run is not done unless all of them converged.
SAMPLING = "sampling"


def case(seed: int, number: int) -> tuple[str, str | None]:
    """One run: how it ended, and what was wrong with that."""
    dice = random.Random(f"{seed}/{number}")
    name = dice.choice(sorted(BASES))
    runner, config = BASES[name][0], changed(dice, BASES[name][0], {"seed": 1, **BASES[name][1]})
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        text = yaml.safe_dump(config, sort_keys=False).replace("FOLDER", folder)
        (place / "c.yml").write_text(text, encoding="utf-8")
        line = [
            "--runner",
            runner,
            "--config",
            str(place / "c.yml"),
            "--out",
            str(place / "out"),
            "--verbose",
            "warning",
        ]
        done = call(line)
        fault = done.fault or judged(done, place / "out")
    if number % 20 == 19:
        jax.clear_caches()
        gc.collect()
    kind = {0: "done", 1: "failed", 2: "refused"}.get(-1 if done.code is None else done.code, "broken")
    return kind, fault and f"{runner}\n{text}\n{fault}"


def changed(dice: random.Random, runner: str, config: dict[str, Any]) -> dict[str, Any]:
    """A config with a few of its options others."""
    config = copy.deepcopy(config)
    own = [key for key in OPTIONS if fits(key, runner, config)]
    for key in dice.sample(own, dice.choice((1, 1, 2, 3))) + dice.sample(sorted(OPTIONS), int(dice.random() < 0.05)):
        *path, last = key.split(".")
        node = config.setdefault(path[0], {}) if path else config
        node[last] = solver_list(dice) if key in ("solvers", "methods") else dice.choice(OPTIONS[key])
    return config


def fits(key: str, runner: str, config: dict[str, Any]) -> bool:
    """Whether an option is one of the runner's, and of the model's if it is the model's."""
    first, *rest = key.split(".")
    return first in RUNNERS[runner].Config.model_fields and (not rest or rest[0] in config.get(first, {}))


def solver_list(dice: random.Random) -> list[Any]:
    """One to three solvers with options of their own or of others."""
    entries: list[Any] = []
    for _ in range(dice.choice((1, 1, 2, 3))):
        name = dice.choice([*SOLVERS, "jacobi", "sequential", "cached_sequential"])
        fields = [
            key
            for key in SOLVER_OPTIONS
            if key in (*SOLVERS[name].__dataclass_fields__, "max_steps", "trace", "repeats")
        ]
        keys = dice.sample(fields, min(len(fields), dice.choice((0, 1, 1, 2))))
        entries.append({"name": name, **{key: dice.choice(SOLVER_OPTIONS[key]) for key in keys}})
    return entries


def judged(done: Outcome, out: Path) -> str | None:
    """What is wrong with what a run left, if anything."""
    if done.code == 2:
        if len(done.err.splitlines()) != 1 or done.out or out.exists():
            return f"a refusal of more than a line, or with results: {done.err!r} {done.out!r}"
        return None
    if not (out / "results.json").is_file():
        return "done, and there are no results" if done.code == 0 else None
    record = json.loads((out / "results.json").read_text(encoding="utf-8"), parse_constant=not_json)
    if sorted(record["files"]) != sorted(path.name for path in out.iterdir()):
        return f"the list of files is not what is there: {record['files']}"
    for path in out.glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            [arrays[name] for name in arrays]
    if done.code == 0 and record["kind"] == SAMPLING:
        ends = {row["label"]: row["status"] for row in record["rows"]}
        if set(ends.values()) != {"converged"}:
            return f"exit 0, and not all converged: {ends}"
    return None


def not_json(name: str) -> None:
    """Refuse what Python's reader takes beyond JSON."""
    raise AssertionError(f"{name} in results.json")


if __name__ == "__main__":
    sys.exit(fuzz("tiny runs", case, 300))
