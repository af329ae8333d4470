"""Mistakes as rows of tables: a command line, a config, files, and the one sentence that answers them.

``bad`` is a row with a whole command line, ``sampling`` one with changes to a small sampler's config that works,
``training`` the same for a trainer's, ``evaluating`` for an evaluation's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from flax import nnx
from safetensors.numpy import load_file, save_file

import models
from common.paths import ROOT
from models.made.model import MADEConfig, generate_masks
from models.weights.native import save_checkpoint
from runners import RUNNERS
from runners.cli.main import main

SHAPE = {"num_inputs": 36, "hidden_sizes": [16, 12]}


SAMPLING = {
    "model": {"name": "made", **SHAPE},
    "batch_size": 4,
    "solvers": [{"name": "sequential"}, {"name": "jacobi"}],
    "repeats": 1,
    "seed": 1,
    "trace": False,
}


TRAINING = {"model": {"name": "made", "num_inputs": 784, "hidden_sizes": [8]}, "epochs": 1}


BUILT = ", ".join(RUNNERS)


OLD = "belongs to an older code base; its successor is"


KEYS = (
    "model, checkpoint, batch_size, noise_file, head, equations, judge, known_pixels, guess, solvers, repeats, "
    "time_limit_s, trace, runner, seed, mesh, precision"
)


OF_JACOBI = ("tol", "max_steps", "repeats", "trace", "stop")  # beside damping


NAMES = ", ".join(models.MODELS)


PIXELS = {"name": "pixelcnnpp", "image_shape": [4, 4, 1], "nr_resnet": 1, "nr_filters": 1, "nr_logistic_mix": 2}


MADE_OPTIONS = ("hidden_sizes", "image_shape", "num_inputs", "clamp_lambda")  # the nearest to "hidden" first


Write = Callable[[Path], None]  # makes a file


@dataclass(frozen=True)
class Row:
    """A mistake. In arguments, config and sentence ``{here}`` stands for the test's folder."""

    sentence: str | re.Pattern[str]
    arguments: tuple[str, ...]
    config: dict[str, Any] | str | bytes | None = None  # what c.yml holds
    files: tuple[tuple[str, Write], ...] = ()
    code: int = 2


def bad(name: str, sentence: str | re.Pattern[str], *arguments: str, **rest: Any) -> Any:
    return pytest.param(Row(sentence, arguments, **rest), id=name)


def sampling(
    name: str,
    sentence: str | re.Pattern[str],
    *arguments: str,
    text: str | bytes | None = None,
    files: tuple[tuple[str, Write], ...] = (),
    code: int = 2,
    **changes: Any,
) -> Any:
    """``arguments`` are added to the command line; ``text`` stands in the config's place."""
    config = {key: value for key, value in {**SAMPLING, **changes}.items() if value is not LEFT_OUT}
    line = ("--runner", "MADESamplerRunner", "--config", "{here}/c.yml", "--out", "{here}/out", *arguments)
    return pytest.param(Row(sentence, line, config if text is None else text, files, code), id=name)


def training(name: str, sentence: str | re.Pattern[str], **changes: Any) -> Any:
    config = {**TRAINING, "state_dir": "{here}/state", **changes}
    line = ("--runner", "TrainRunner", "--config", "{here}/c.yml", "--out", "{here}/out")
    return pytest.param(Row(sentence, line, config), id=name)


def evaluating(name: str, sentence: str | re.Pattern[str], **changes: Any) -> Any:
    config = {"checkpoint": "{here}/w.safetensors", **changes}
    config = {key: value for key, value in config.items() if value is not LEFT_OUT}
    line = ("--runner", "EvaluateRunner", "--config", "{here}/c.yml", "--out", "{here}/out")
    return pytest.param(Row(sentence, line, config, (("w.safetensors", native),)), id=name)


LEFT_OUT = object()


def near(sentence: str, first: str, *others: str) -> re.Pattern[str]:
    """A sentence that ends with the valid names: ``first``, then the others in any order."""
    anywhere = "".join(f"(?=.*, {re.escape(other)}(,|$))" for other in others)
    names = r", [^,]+" * len(others)
    start = re.escape(sentence).replace(r"\{here\}", "{here}")
    return re.compile(f"{start} valid: {re.escape(first)}{anywhere}{names}")


def key_near(key: str, guess: str) -> re.Pattern[str]:
    others = [other for other in KEYS.split(", ") if other != guess]
    return near(f"c.yml: unknown config key {key!r}; did you mean {guess!r}?", guess, *others)


def holds(content: bytes) -> Write:
    return lambda path: path.write_bytes(content) and None


def npz(**arrays: Any) -> Write:
    return lambda path: np.savez(path, **arrays)


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros((4, 36)))


def spoiled(write: Write, spoil: Callable[[bytes], bytes]) -> Write:
    def written(path: Path) -> None:
        write(path)
        path.write_bytes(spoil(path.read_bytes()))

    return written


def first_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def tiny_model() -> Any:
    return models.MODELS["made"](MADEConfig(36, (16, 12), 1e-3), rngs=nnx.Rngs(0))


def native(path: Path) -> None:
    save_checkpoint(path, "made", tiny_model(), {"dataset": "none"})


def native_with(metadata: dict[str, str] | None = None, **arrays: Any) -> Write:
    """A checkpoint of ours with other metadata or arrays; ``None`` takes an array out."""
    ours = {"format": "trisolve-1", "architecture": '{"name": "made", "num_inputs": 36, "hidden_sizes": [16, 12]}'}

    def written(path: Path) -> None:
        native(path)
        kept = {**load_file(path), **{name.replace("__", "."): array for name, array in arrays.items()}}
        packed = '{"layers.0.mask": [16, 36], "layers.1.mask": [12, 16], "layers.2.mask": [72, 12]}'
        full = {**ours, "info": "{}", "packed_shapes": packed, **(metadata or {})}
        save_file({name: array for name, array in kept.items() if array is not None}, path, full)

    return written


def torch_made(changes: dict[str, Any] | None = None) -> Write:
    """A torch state dict of the tiny MADE, with entries changed or added; ``None`` takes one out."""

    def written(path: Path) -> None:
        state: dict[str, Any] = {}
        for i, mask in enumerate(generate_masks(36, (16, 12))):
            state[f"net.{2 * i}.weight"] = torch.full(mask.shape, 0.1)
            state[f"net.{2 * i}.bias"] = torch.zeros(mask.shape[0])
            state[f"net.{2 * i}.mask"] = torch.from_numpy(mask.astype(np.float32))
        state |= changes or {}
        torch.save({name: value for name, value in state.items() if value is not None}, path)

    return written


def saved_by_torch(value: Any) -> Write:
    return lambda path: torch.save(value, path)


def pth(name: str, sentence: str | re.Pattern[str], write: Write, **model: Any) -> Any:
    return sampling(
        f"pth_{name}",
        sentence,
        checkpoint="{here}/made.pth",
        model={"name": "made", **model},
        files=(("made.pth", write),),
    )


def weights(name: str, sentence: str | re.Pattern[str], write: Write, **model: Any) -> Any:
    return sampling(
        f"checkpoint_{name}",
        sentence,
        checkpoint="{here}/w.safetensors",
        model={"name": "made", **model},
        files=(("w.safetensors", write),),
    )


def noise(name: str, sentence: str | re.Pattern[str], write: Write) -> Any:
    return sampling(f"noise_{name}", sentence, noise_file="{here}/n.npz", files=(("n.npz", write),))


NOT_NPZ = "noise_file '{here}/n.npz' is damaged, or not an .npz file"


NOT_STATE = "{here}/made.pth is damaged, or holds other things than a torch state dict"


UNNAMED = "{here}/made.pth is not a torch state dict: expected tensors by name"


MASKS = "the masks are not autoregressive in natural order: an output reads its own pixel or a later one"


PACKED = "{here}/w.safetensors: entry 'layers.0.mask' is"


ENOUGH = "The step limit was reached before the solver converged; raise max_steps."


def prepare(row: Row, here: Path) -> list[str]:
    """Write the row's files; returns its arguments."""
    for name, write in row.files:
        write(here / name)
    if isinstance(row.config, bytes):
        (here / "c.yml").write_bytes(row.config)
    elif row.config is not None:
        text = row.config if isinstance(row.config, str) else yaml.safe_dump(row.config)
        (here / "c.yml").write_text(text.replace("{here}", str(here)))
    return [argument.replace("{here}", str(here)) for argument in row.arguments]


def assert_says(stderr: str, sentence: str | re.Pattern[str], here: Path) -> None:
    """One line, ``error:`` and the sentence."""
    assert stderr.startswith("error: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1
    said = stderr.removeprefix("error: ").removesuffix("\n")
    if isinstance(sentence, str):
        assert said == sentence.replace("{here}", str(here))
    else:
        assert re.fullmatch(sentence.pattern.replace("{here}", re.escape(str(here))), said), said


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden or not, with the files' bytes."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program as users start it, with warnings as errors and no settings of the tests."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))} | environment
    command = [sys.executable, "-W", "error", str(ROOT / "main.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def check_mistake(row: Row, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The sentence, the exit code, nothing on standard output, and no file written or changed."""
    arguments = prepare(row, here)
    before = tree(here)
    assert main(arguments) == row.code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert_says(captured.err, row.sentence, here)
    assert tree(here) == before


def check_in_a_process_of_its_own(row: Row, here: Path) -> None:
    """The same of the program as users start it."""
    arguments = prepare(row, here)
    before = tree(here)
    done = run(*arguments)
    assert done.returncode == row.code
    assert done.stdout == ""
    assert_says(done.stderr, row.sentence, here)
    assert tree(here) == before
