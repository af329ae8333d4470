"""Whatever is wrong with a command line, a config or a file: one sentence that helps, and the right exit code.

All mistakes are rows of one table. ``bad`` is a row with a whole command line, ``sampling`` one with changes to a small
sampler's config that works, ``training`` the same for a trainer's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import yaml
from flax import nnx
from safetensors.numpy import load_file, save_file

import models
import solvers
from common.paths import ROOT
from data import DATASETS
from models.made.model import MADEConfig, generate_masks
from models.weights.native import save_checkpoint
from models.weights.registry import registry
from runners import RUNNERS
from runners.cli.main import main
from runners.measure.programs import keep_programs

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
KEYS = "model, checkpoint, batch_size, noise_file, head, known_pixels, solvers, repeats, time_limit_s, trace, seed"
OF_JACOBI = ("tol", "max_steps", "repeats", "trace")  # beside damping
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


# Files that are wrong.


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

LINES = [
    bad("no_arguments", "--runner and --config are needed (or --list, to see what there is)"),
    bad("no_config", "--runner and --config are needed (or --list, to see what there is)", "--runner", "TrainRunner"),
    bad("flag_without_value", "argument --runner: expected one argument", "--runner"),
    bad(
        "unknown_flag_near",
        near(
            "unknown flag '--confg'; did you mean '--config'?",
            "--config",
            *("--runner", "--set", "--seed", "--out", "--device", "--verbose", "--list", "--download", "--help", "-h"),
        ),
        *("--confg", "x"),
    ),
    bad("unknown_flag_far", re.compile("unknown flag '--zzz'; valid: .*--runner.*"), "--zzz"),
    bad("argument_without_flag", re.compile("unknown argument 'x.yml'; valid: .*--config.*"), "x.yml"),
    bad("abbreviated_flag", re.compile("unknown flag '--conf'; did you mean '--config'?.*"), "--conf=x"),
    *(
        bad(f"old_flag_{flag}", f"flag --{flag} {OLD} --out", f"--{flag}", "x")
        for flag in ("doc", "run", "image_folder", "exp", "comment")
    ),
    *(bad(f"old_flag_{flag}", f"flag --{flag} {OLD} --runner", f"--{flag}") for flag in ("test", "sample")),
    bad("old_flag_with_value", f"flag --doc {OLD} --out", "--doc=x"),
    bad("old_flag_resume", f"flag --resume_training {OLD} nothing: TrainRunner resumes by itself", "--resume_training"),
    bad("seed_no_number", "argument --seed: invalid int value: 'x'", "--seed", "x"),
    bad(
        "runner_near",
        near(
            "unknown runner 'MadeSampler'; did you mean 'MADESamplerRunner'?",
            "MADESamplerRunner",
            *(name for name in RUNNERS if name != "MADESamplerRunner"),
        ),
        *("--runner", "MadeSampler", "--config", "made_sampler.yml"),
    ),
    bad(
        "runner_far",
        f"unknown runner 'zzz'; valid: {BUILT}",
        *("--runner", "zzz", "--config", "made_sampler.yml"),
    ),
    *(
        bad(
            f"config_near_{name}",
            re.compile(f"unknown config '{name}'; did you mean 'made_sampler.yml'. valid: made_sampler.yml, .+"),
            *("--runner", "MADESamplerRunner", "--config", name),
        )
        for name in ("made_smpler.yml", "made_smpler")
    ),
    bad(
        "config_far",
        re.compile("unknown config '/no/where.yml'; valid: .*made_sampler.yml.*"),
        *("--runner", "MADESamplerRunner", "--config", "/no/where.yml"),
    ),
    bad("config_empty", re.compile("unknown config ''; valid: .+"), "--runner", "MADESamplerRunner", "--config", ""),
    bad(
        "config_folder",
        "config {here} is a folder; expected a YAML file",
        *("--runner", "MADESamplerRunner", "--config", "{here}"),
    ),
    sampling("device_cuda", "device 'cuda' is called 'gpu' here; valid: cpu, gpu, tpu", "--device", "cuda"),
    sampling("device_near", "unknown device 'gup'; did you mean 'gpu'? valid: gpu, cpu, tpu", "--device", "gup"),
    sampling("device_capitals", "unknown device 'CPU'; did you mean 'cpu'? valid: cpu, gpu, tpu", "--device", "CPU"),
    sampling("device_far", "unknown device 'zzz'; valid: cpu, gpu, tpu", "--device", "zzz"),
    sampling(
        "verbose_near",
        "unknown level 'inf'; did you mean 'info'? valid: info, warning, debug, error",
        *("--verbose", "inf"),
    ),
    sampling("seed_negative", "c.yml: seed should be at least 0, not -1", "--seed", "-1"),
    sampling("seed_large", "c.yml: seed should be less than 4294967296, not 4294967296", "--seed", str(2**32)),
    sampling(
        "out_is_file",
        "--out {here}/file: {here}/file is a file; expected a folder, or a path where one can be made",
        *("--out", "{here}/file"),
        files=(("file", holds(b"x")),),
    ),
    sampling(
        "out_below_file",
        "--out {here}/file/a/b: {here}/file is a file; expected a folder, or a path where one can be made",
        *("--out", "{here}/file/a/b"),
        files=(("file", holds(b"x")),),
    ),
    sampling(
        "out_is_no_results",
        "--out {here} holds other files and no results.json; results would replace it: choose another",
        *("--out", "{here}"),
        files=(("thesis.txt", holds(b"years of work")),),
    ),
]

CONFIGS = [
    sampling(
        "yaml_broken",
        "config {here}/c.yml is not valid YAML: expected ',' or ']', but got ':' (line 2, column 2)",
        text="a: [1, 2\nb: 3",
    ),
    sampling(
        "yaml_tag",
        "config {here}/c.yml is not valid YAML: the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd' is not "
        "allowed; expected plain text, lists and mappings (line 1, column 4)",
        text="a: !!python/object/apply:os.getcwd []",
    ),
    sampling(
        "yaml_control_character",
        re.compile("config {here}/c.yml is not valid YAML: .*special characters are not allowed.*"),
        text="a: \x01",
    ),
    sampling("yaml_binary", "config {here}/c.yml is not a text file", text=b"\xff\xfe\x00\x81"),
    sampling("yaml_list", "config {here}/c.yml should be a mapping of keys to values; it is a list", text="- a\n- b"),
    sampling("yaml_empty", "config {here}/c.yml should be a mapping of keys to values; it is empty", text="# nothing"),
    sampling("yaml_text", "config {here}/c.yml should be a mapping of keys to values; it is 'hello'", text="hello"),
    sampling("key_near", key_near("batch_sze", "batch_size"), batch_sze=3),
    sampling("key_capitals", key_near("Solvers", "solvers"), Solvers=3),
    sampling("key_far", re.compile("c.yml: unknown config key 'zzz'; valid: .*batch_size.*"), zzz=3),
    sampling("key_number", re.compile("c.yml: unknown config key '3'; valid: .*batch_size.*"), text="3: 4"),
    *(
        sampling(f"old_key_{key}", f"c.yml: config key {key!r} {OLD} {successor}", **{key: 1})
        for key, successor in {
            "algo": "solvers (a list of {name: ...})",
            "algorithm": "solvers (a list of {name: ...})",
            "ckpt_path": "checkpoint",
            "sample_batch_size": "batch_size",
            "max_rows": "block_size (an option of the solver gs_jacobi, in equations)",
            "block_size": "block_size inside an entry of solvers",
            "n_iters": "max_steps",
            "num_iters": "max_steps",
            "image_folder": "the flag --out",
            "doc": "the flag --out",
            "run": "the flag --out",
        }.items()
    ),
    sampling("batch_size_text", "c.yml: batch_size should be a whole number, not 'many'", batch_size="many"),
    sampling("batch_size_zero", "c.yml: batch_size should be at least 1, not 0", batch_size=0),
    sampling("batch_size_half", "c.yml: batch_size should be a whole number, not 2.5", batch_size=2.5),
    sampling("batch_size_null", "c.yml: batch_size should be a whole number, not null", batch_size=None),
    sampling("batch_size_list", "c.yml: batch_size should be a whole number, not [1]", batch_size=[1]),
    sampling("batch_size_huge", "the device ran out of memory; try a smaller batch_size", batch_size=10**13, code=1),
    sampling("repeats_negative", "c.yml: repeats should be at least 1, not -1", repeats=-1),
    sampling("seed_in_config_negative", "c.yml: seed should be at least 0, not -1", seed=-1),
    sampling("trace_text", "c.yml: trace should be true or false, not 'maybe'", trace="maybe"),
    sampling("time_limit_zero", "c.yml: time_limit_s should be more than 0, not 0", time_limit_s=0),
    sampling("time_limit_nan", "c.yml: time_limit_s should be more than 0, not nan", time_limit_s=float("nan")),
    sampling("time_limit_text", "c.yml: time_limit_s should be a number, not 'long'", time_limit_s="long"),
    sampling("nothing_to_sample", "c.yml: model or checkpoint is needed", model=None),
    training("choice", "c.yml: lr_schedule should be 'constant' or 'cosine', not 'cosin'", lr_schedule="cosin"),
    training("data_text", "c.yml: data should be a mapping of keys to values, not 'mnist'", data="mnist"),
    training(
        "nested_key_near",
        near("c.yml: unknown config key in data 'nam'; did you mean 'name'?", "name", "root", "download"),
        data={"nam": "mnist5k"},
    ),
    training("nested_old_key", f"c.yml: config key 'data.doc' {OLD} the flag --out", data={"doc": 1}),
    training(
        "pattern",
        "c.yml: checkpoint_name should be text that matches ^[a-z0-9][a-z0-9_-]*$, not '../x'",
        checkpoint_name="../x",
    ),
    training("key_of_a_sampler", re.compile("c.yml: unknown config key 'solvers'; valid: .*model.*"), solvers=[]),
    sampling("key_of_training", re.compile("c.yml: unknown config key 'epochs'; valid: .*"), epochs=1),
]

JACOBI = "c.yml: solvers: solver jacobi"
OVERRIDES = [
    sampling("set_no_equals", "override 'trace' should be key=value, for example batch_size=16", "--set", "trace"),
    sampling("set_no_key", "override '=3' should be key=value, for example batch_size=16", "--set", "=3"),
    sampling(
        "set_no_yaml",
        re.compile(re.escape("override 'seed=[1': the value is not valid YAML: ") + ".*"),
        "--set",
        "seed=[1",
    ),
    sampling("set_nothing", "c.yml: seed should be a whole number, not null", "--set", "seed="),
    sampling("set_unknown_key", key_near("batch_sze", "batch_size"), "--set", "batch_sze=3"),
    sampling("set_into_missing_key", key_near("modle", "model"), "--set", "modle.name=made"),
    sampling("set_into_null", "c.yml: noise_file should be text, not {'x': 3}", "--set", "noise_file.x=3"),
    *(
        sampling(
            f"set_index_{index}",
            f"override 'solvers.{index}.name=jacobi': solvers is a list of 2; expected a number from 0 to 1, "
            f"not '{index}'",
            *("--set", f"solvers.{index}.name=jacobi"),
        )
        for index in ("2", "-1", "first")
    ),
    sampling(
        "set_into_value",
        "override 'batch_size.x=2': batch_size is a plain value, nothing to step into",
        *("--set", "batch_size.x=2"),
    ),
    sampling(
        "set_second_of_many",
        "c.yml: batch_size should be a whole number, not 'b'",
        *("--set", "seed=3", "batch_size=b"),
    ),
    sampling(
        "set_option",
        near(f"{JACOBI}: unknown option 'dampng'; did you mean 'damping'?", "damping", *OF_JACOBI),
        *("--set", "solvers.1.dampng=0.5"),
    ),
]

EXPECTED_LIST = "c.yml: solvers: expected a list of one or more solvers, for example [{name: jacobi}]"
EXPECTED_ENTRY = "c.yml: solvers: each solver should be a mapping with a name, for example {name: jacobi}, not"
SOLVERS = [
    sampling("solvers_text", EXPECTED_LIST, solvers="jacobi"),
    sampling("solvers_empty", EXPECTED_LIST, solvers=[]),
    sampling("solvers_mapping", EXPECTED_LIST, solvers={"name": "jacobi"}),
    sampling("solvers_left_out", "c.yml: solvers is missing", solvers=LEFT_OUT),
    sampling("solver_number", f"{EXPECTED_ENTRY} 3", solvers=[3]),
    sampling("solver_nameless", f"{EXPECTED_ENTRY} {{'nam': 'jacobi'}}", solvers=[{"nam": "jacobi"}]),
    sampling(
        "solver_near",
        near(
            "c.yml: solvers: unknown solver 'jacoby'; did you mean 'jacobi'?",
            "jacobi",
            *(name for name in solvers.SOLVERS if name != "jacobi"),
        ),
        solvers=[{"name": "jacoby"}],
    ),
    sampling("solver_far", re.compile("c.yml: solvers: unknown solver 'zzz'; valid: .*jacobi.*"), solvers=["zzz"]),
    sampling(
        "solver_name_list",
        re.compile(r"c.yml: solvers: unknown solver \"\['jacobi'\]\"; did you mean 'jacobi'\? valid: jacobi, .*"),
        solvers=[{"name": ["jacobi"]}],
    ),
    sampling(
        "option_near",
        near(f"{JACOBI}: unknown option 'dampng'; did you mean 'damping'?", "damping", *OF_JACOBI),
        solvers=[{"name": "jacobi", "dampng": 0.5}],
    ),
    sampling(
        "option_of_another",
        re.compile("c.yml: solvers: solver sequential: unknown option 'block_size'; valid: (?=.*tol).*max_steps.*"),
        solvers=[{"name": "sequential", "block_size": 3}],
    ),
    *(
        sampling(f"option_{name}", f"c.yml: solvers: solver {sentence}", solvers=[entry])
        for name, sentence, entry in (
            (
                "old",
                f"gs_jacobi: option 'max_rows' {OLD} block_size, in equations",
                {"name": "gs_jacobi", "max_rows": 2},
            ),
            ("old_steps", f"jacobi: option 'n_iters' {OLD} max_steps", {"name": "jacobi", "n_iters": 2}),
            (
                "damping_range",
                "jacobi: damping must be in (0, 1], where 1 is plain Jacobi, not 2.0",
                {"name": "jacobi", "damping": 2},
            ),
            ("damping_text", "jacobi: damping should be a number, not 'much'", {"name": "jacobi", "damping": "much"}),
            (
                "block_size_zero",
                "gs_jacobi: block_size must be at least 1, not 0",
                {"name": "gs_jacobi", "block_size": 0},
            ),
            (
                "block_size_half",
                "jacobi_gs: block_size should be a whole number, not 2.5",
                {"name": "jacobi_gs", "block_size": 2.5},
            ),
            (
                "history_size_zero",
                "anderson: history_size must be at least 1, not 0",
                {"name": "anderson", "history_size": 0},
            ),
            (
                "max_steps_zero",
                "jacobi: max_steps should be a whole number of at least 1, not 0",
                {"name": "jacobi", "max_steps": 0},
            ),
            (
                "repeats_zero",
                "jacobi: repeats should be a whole number of at least 1, not 0",
                {"name": "jacobi", "repeats": 0},
            ),
            (
                "trace_text",
                "jacobi: trace should be true or false, not 'maybe'",
                {"name": "jacobi", "trace": "maybe"},
            ),
            ("tol_negative", "jacobi: tol must be at least 0, not -1.0", {"name": "jacobi", "tol": -1}),
            ("tol_nan", "anderson: tol must be at least 0, not nan", {"name": "anderson", "tol": float("nan")}),
        )
    ),
]

MODELS = [
    sampling(
        "model_near",
        near(
            "c.yml: model: unknown model 'mad'; did you mean 'made'?",
            "made",
            *(name for name in models.MODELS if name != "made"),
        ),
        model={"name": "mad"},
    ),
    sampling(
        "model_name_list",
        re.compile("c.yml: model: unknown model .*; valid: .*made.*"),
        model={"name": ["x", "y"]},
    ),
    sampling("model_nameless", f"a model needs a name; valid: {NAMES}", "--runner", "SamplerRunner", model=SHAPE),
    sampling("model_text", "c.yml: model should be a mapping of keys to values, not 'made'", model="made"),
    sampling("model_incomplete", "model made: num_inputs is missing", model={"name": "made"}),
    sampling(
        "model_option_near",
        near(
            "model made: unknown option 'hidden'; did you mean 'hidden_sizes'?",
            *MADE_OPTIONS,
        ),
        model={"name": "made", "num_inputs": 36, "hidden": [3]},
    ),
    sampling(
        "model_size_text",
        "model made: hidden_sizes.1 should be a whole number, not 'x'",
        model={"name": "made", "num_inputs": 36, "hidden_sizes": [16, "x"]},
    ),
    sampling(
        "model_size_range",
        "model made: num_inputs must be at least 1, not 0",
        model={"name": "made", "num_inputs": 0},
    ),
    sampling(
        "checkpoint_near",
        re.compile("unknown checkpoint 'made_mnst'; did you mean 'made_mnist'. valid: made_mnist, .*densenet121.*"),
        checkpoint="made_mnst",
    ),
    sampling(
        "checkpoint_missing",
        f"checkpoint file '{{here}}/w.safetensors' does not exist; shipped: {', '.join(registry())}",
        checkpoint="{here}/w.safetensors",
    ),
    sampling("checkpoint_folder", "checkpoint '{here}' is a folder; expected a file", checkpoint="{here}"),
    sampling("checkpoint_number", re.compile("unknown checkpoint .3.; valid: .*made_mnist.*"), checkpoint=3),
    *(
        weights(
            f"damaged_{name}",
            re.compile("{here}/w.safetensors is not a readable safetensors file: .+"),
            spoiled(native, spoil),
        )
        for name, spoil in (
            ("half", first_half),
            ("header", lambda content: content[:5]),
            ("empty", lambda content: b""),
            ("text", lambda content: b"not weights at all"),
        )
    ),
    weights(
        "of_another_program",
        "{here}/w.safetensors is not a Trisolve checkpoint: its format is 'pt', not 'trisolve-1'",
        lambda path: save_file({"a": np.zeros(3)}, path, {"format": "pt"}),
    ),
    weights(
        "without_metadata",
        "{here}/w.safetensors is not a Trisolve checkpoint: its format is None, not 'trisolve-1'",
        lambda path: save_file({"a": np.zeros(3)}, path),
    ),
    *(
        weights(
            f"metadata_{key}",
            f"{{here}}/w.safetensors is damaged: its metadata has no valid {key!r}",
            native_with({key: value}),
        )
        for key, value in (("architecture", "{"), ("info", "[1]"), ("packed_shapes", "null"))
    ),
    weights(
        "of_another_model",
        "{here}/w.safetensors: the config says name: made, the checkpoint name: wavenet",
        native_with({"architecture": '{"name": "wavenet"}'}),
    ),
    weights(
        "entry_missing",
        "{here}/w.safetensors: entry 'layers.1.bias' is missing; expected shape (12,)",
        native_with(layers__1__bias=None),
    ),
    weights(
        "entry_extra",
        "{here}/w.safetensors: unexpected entry 'layers.1.scale' of shape (2,)",
        native_with(layers__1__scale=np.zeros(2)),
    ),
    weights(
        "entry_shape",
        "{here}/w.safetensors: entry 'layers.1.bias' has shape (2,); expected (12,)",
        native_with(layers__1__bias=np.zeros(2)),
    ),
    weights(
        "mask_type",
        f"{PACKED} float64 of shape (72,); expected uint8 of shape (72,)",
        native_with(layers__0__mask=np.zeros(72)),
    ),
    weights(
        "mask_short",
        f"{PACKED} uint8 of shape (71,); expected uint8 of shape (72,)",
        native_with(layers__0__mask=np.zeros(71, np.uint8)),
    ),
    weights(
        "masks",
        f"{{here}}/w.safetensors: {MASKS}",
        native_with(layers__2__mask=np.full(108, 255, np.uint8)),
    ),
    weights(
        "conflict",
        "{here}/w.safetensors: the config says num_inputs: 49, the checkpoint num_inputs: 36",
        native,
        num_inputs=49,
    ),
    weights(
        "option_near",
        near(
            "{here}/w.safetensors: model made: unknown option 'hidden'; did you mean 'hidden_sizes'?",
            *MADE_OPTIONS,
        ),
        native,
        hidden=[3],
    ),
    sampling(
        "checkpoint_foreign",
        "{here}/w.flax: no importer for '.flax' with model name made; valid: .pth with model name made, "
        ".pth with model name densenet, .flax with model name pixelcnnpp, .npz with model name wavenet, .safetensors",
        checkpoint="{here}/w.flax",
        files=(("w.flax", holds(b"x")),),
    ),
    pth(
        "bias_missing",
        "{here}/made.pth: entry 'net.2.bias' is missing; expected shape (12,)",
        torch_made({"net.2.bias": None}),
    ),
    pth(
        "weight_missing",
        "{here}/made.pth: entry 'net.2.weight' is missing; expected shape (outputs, 16)",
        torch_made({"net.2.weight": None}),
    ),
    pth(
        "output_missing",
        "{here}/made.pth: entry 'net.4.weight' is missing; expected shape (72, 12)",
        torch_made({"net.4.weight": None}),
    ),
    pth(
        "layer_missing",
        re.compile(r"{here}/made.pth: expected entries net.0, net.2, net.4, ...; found net.0.bias, net.0.mask, .*"),
        torch_made({f"net.2.{part}": None for part in ("weight", "bias", "mask")}),
    ),
    pth(
        "extra",
        "{here}/made.pth: unexpected entry 'scale' of shape (2,)",
        torch_made({"scale": torch.zeros(2)}),
    ),
    pth(
        "extra_net",
        "{here}/made.pth: unexpected entry 'net.scale' of shape ()",
        torch_made({"net.scale": torch.zeros(())}),
    ),
    pth(
        "bias_shape",
        "{here}/made.pth: entry 'net.2.bias' has shape (5,); expected (12,)",
        torch_made({"net.2.bias": torch.zeros(5)}),
    ),
    pth(
        "mask_shape",
        "{here}/made.pth: entry 'net.0.mask' has shape (36, 16); expected (16, 36)",
        torch_made({"net.0.mask": torch.ones(36, 16)}),
    ),
    pth(
        "output_shape",
        "{here}/made.pth: entry 'net.4.weight' has shape (36, 12); expected (72, 12)",
        torch_made({"net.4.weight": torch.zeros(36, 12)}),
    ),
    pth(
        "weight_number",
        "{here}/made.pth: entry 'net.0.weight' has shape (); expected (outputs, inputs)",
        torch_made({"net.0.weight": torch.zeros(())}),
    ),
    pth("masks", f"{{here}}/made.pth: {MASKS}", torch_made({"net.4.mask": torch.ones(72, 12)})),
    pth("list", UNNAMED, saved_by_torch([1, 2])),
    pth("nested", f"{UNNAMED}, entry 'state_dict' is dict", saved_by_torch({"state_dict": {}})),
    pth("numbered", UNNAMED, saved_by_torch({1: torch.zeros(1)})),
    pth("nothing", "{here}/made.pth: expected entries net.0, net.2, net.4, ...; found none", saved_by_torch({})),
    pth(
        "code",
        "{here}/made.pth holds torch.nn.modules.linear.Linear, which is not loaded, as it may run code; save the state "
        "dict alone, torch.save(model.state_dict(), ...)",
        saved_by_torch(torch.nn.Linear(2, 2)),
    ),
    pth("text", NOT_STATE, holds(b"text")),
    pth("empty", f"{NOT_STATE}: it is empty", holds(b"")),
    pth("half", NOT_STATE, spoiled(torch_made(), first_half)),
    pth(
        "conflict",
        "{here}/made.pth: the config says hidden_sizes: [16, 13], the checkpoint hidden_sizes: [16, 12]",
        torch_made(),
        hidden_sizes=[16, 13],
    ),
    pth(
        "option_range",
        "{here}/made.pth: model made: clamp_lambda must be in (0, 0.5), not 3.0",
        torch_made(),
        clamp_lambda=3,
    ),
]

NOISE = "noise_file '{here}/n.npz'"
FILES = [
    sampling("noise_missing", f"{NOISE} does not exist", noise_file="{here}/n.npz"),
    sampling("noise_folder", "noise_file '{here}' is a folder; expected an .npz file", noise_file="{here}"),
    noise("text", NOT_NPZ, holds(b"text")),
    noise("empty", f"{NOT_NPZ}: it is empty", holds(b"")),
    noise("cut", NOT_NPZ, spoiled(npz(logistic_noise=np.zeros((4, 36))), first_half)),
    noise("npy", f"{NOT_NPZ}: it is a single .npy array", npy),
    noise(
        "damaged",
        re.compile(NOISE + " is not readable: Bad CRC-32 .*"),
        spoiled(npz(logistic_noise=np.zeros((4, 36))), lambda content: content[:300] + b"?" + content[301:]),
    ),
    noise("objects", re.compile(NOISE + " is not readable: .*"), npz(logistic_noise=np.full((4, 36), None))),
    noise("name", f"{NOISE}: array 'logistic_noise' is missing; it has: noise, seed", npz(noise=np.zeros(3), seed=1)),
    noise(
        "order_of_axes",
        f"{NOISE}: logistic_noise has shape (36, 4), expected (4, 36) (batch first)",
        npz(logistic_noise=np.zeros((36, 4))),
    ),
    noise("number", f"{NOISE}: logistic_noise has shape (), expected (4, 36) (batch first)", npz(logistic_noise=1.0)),
    noise(
        "batch",
        f"{NOISE}: logistic_noise is a batch of 5, the config says batch_size: 4",
        npz(logistic_noise=np.zeros((5, 36))),
    ),
    *(
        noise(
            name,
            f"{NOISE}: logistic_noise holds values that are not finite float32 numbers",
            npz(logistic_noise=np.where(np.eye(4, 36, 3) > 0, value, 0.0)),
        )
        for name, value in (("nan", np.nan), ("infinite", np.inf), ("overflow", 1e300))
    ),
    noise(
        "text_inside",
        f"{NOISE}: logistic_noise holds <U1 values, expected float32",
        npz(logistic_noise=np.full((4, 36), "a")),
    ),
    noise(
        "complex",
        f"{NOISE}: logistic_noise holds complex128 values, expected float32",
        npz(logistic_noise=np.full((4, 36), 1j)),
    ),
    training(
        "dataset_near",
        near("unknown dataset 'mnst'; did you mean 'mnist'?", "mnist", *(name for name in DATASETS if name != "mnist")),
        data={"name": "mnst"},
    ),
    training("dataset_far", f"unknown dataset 'zzz'; valid: {', '.join(DATASETS)}", data={"name": "zzz"}),
    training(
        "dataset_missing",
        re.compile(
            "dataset 'mnist' is not in {here}/data: put .*train-images-idx3-ubyte.gz.* into {here}/data/MNIST/raw, or "
            "set `download: true`, or use the embedded 'mnist5k'"
        ),
        data={"name": "mnist", "root": "{here}/data"},
    ),
    training(
        "dataset_root",
        "dataset 'mnist5k' is embedded and takes no 'root': leave out 'root' and 'download'",
        data={"root": "{here}"},
    ),
    training(
        "dataset_shape",
        "model made draws images of shape [6, 6, 1], the dataset mnist5k has [28, 28, 1]",
        warmup_steps=0,
        model={"name": "made", "num_inputs": 36, "hidden_sizes": [8]},
    ),
]


def pixelcnnpp(name: str, sentence: str | re.Pattern[str], write: Write | None = None, **changes: Any) -> Any:
    """A row with a tiny PixelCNN++; ``write`` makes its noise."""
    rest: dict[str, Any] = {"model": PIXELS, **changes}
    if write is not None:
        rest |= {"noise_file": "{here}/n.npz", "files": (("n.npz", write),)}
    return sampling(f"pixelcnnpp_{name}", sentence, "--runner", "PixelCNNPPSamplerRunner", **rest)


def pixel_noise(logistic: tuple[int, ...] = (4, 4, 4, 1), value: float = 0.5) -> Write:
    mixture = np.full((4, 4, 4, 2), 0.5)
    mixture[1, 2, 3, 0] = value
    return npz(mixture_u=mixture, logistic_u=np.full(logistic, 0.5))


PIXELCNNPP = [
    pixelcnnpp(
        "size",
        re.compile(r"model pixelcnnpp: image_shape \[30, 28, 1\]: .*divisible by 4.*\[32, 28, 1\]"),
        model={**PIXELS, "image_shape": [30, 28, 1]},
    ),
    pixelcnnpp(
        "channels",
        "model pixelcnnpp: image_shape [28, 28, 2]: 1 (gray) or 3 (RGB) channels, not 2",
        model={**PIXELS, "image_shape": [28, 28, 2]},
    ),
    pixelcnnpp(
        "axes",
        "model pixelcnnpp: image_shape.2 is missing",
        model={**PIXELS, "image_shape": [28, 28]},
    ),
    pixelcnnpp(
        "of_another_runner",
        "PixelCNNPPSamplerRunner samples from pixelcnnpp, not made",
        model={"name": "made", **SHAPE},
    ),
    pixelcnnpp(
        "of_another_model",
        "{here}/w.safetensors: the config says name: pixelcnnpp, the checkpoint name: made",
        model=None,
        checkpoint="{here}/w.safetensors",
        files=(("w.safetensors", native),),
    ),
    pixelcnnpp(
        "noise_flat",
        "noise_file '{here}/n.npz': logistic_u has shape (4, 16, 1), expected (4, 4, 4, 1) (batch first)",
        pixel_noise(logistic=(4, 16, 1)),
    ),
    pixelcnnpp(
        "noise_outside",
        "noise_file '{here}/n.npz': noise 'mixture_u' must lie between 0 and 1, both excluded; it holds 1.0",
        pixel_noise(value=1.0),
    ),
    pixelcnnpp(
        "block_size",
        "solver gs_jacobi: block_size 6 is not a multiple of the block unit, 4; the nearest that is: 8",
        solvers=[{"name": "gs_jacobi", "block_size": 6}],
    ),
    pixelcnnpp(
        "head_choice",
        "head: component should be 'gumbel' or 'inverse_cdf', not 'inverse'",
        head={"component": "inverse"},
    ),
    pixelcnnpp("head_range", "head: temperature must be a positive finite number, not 0.0", head={"temperature": 0}),
    pixelcnnpp(
        "head_of_the_architecture",
        re.compile("head: unknown option 'num_mixtures'; valid: (component, temperature|temperature, component)"),
        head={"num_mixtures": 3},
    ),
]

KNOWN = "c.yml: known_pixels:"
GIVEN = "known_pixels: the file '{here}/k.npz'"


def known(name: str, sentence: str | re.Pattern[str], write: Write | None = None, **options: Any) -> Any:
    """A row about images to be completed; ``write`` makes a file of them."""
    if write is None:
        return sampling(f"known_{name}", sentence, known_pixels=options)
    options = {"images": "{here}/k.npz", "rows": 1, **options}
    return sampling(f"known_{name}", sentence, known_pixels=options, files=(("k.npz", write),))


DIGITS = {"name": "mnist5k"}
COMPLETING = [
    known("two_sources", f"{KNOWN} one of images (a file) and data is needed, and not both", npz(), data=DIGITS),
    known("no_source", f"{KNOWN} one of images (a file) and data is needed, and not both", rows=1),
    known("two_amounts", f"{KNOWN} one of rows and pixels is needed, and not both", data=DIGITS, rows=1, pixels=2),
    known("no_amount", f"{KNOWN} one of rows and pixels is needed, and not both", data=DIGITS),
    known("nothing", "c.yml: known_pixels.rows should be at least 1, not 0", data=DIGITS, rows=0),
    known("half", "c.yml: known_pixels.pixels should be a whole number, not 1.5", data=DIGITS, pixels=1.5),
    known("rows_many", "known_pixels: rows 7 is more than the images' height, 6", data=DIGITS, rows=7),
    known("pixels_many", "known_pixels: pixels 37 is more than the images have, 36", data=DIGITS, pixels=37),
    known(
        "key_near",
        near(
            "c.yml: unknown config key in known_pixels 'row'; did you mean 'rows'?",
            "rows",
            "images",
            "data",
            "pixels",
        ),
        row=3,
    ),
    known(
        "key_old",
        near(
            "c.yml: unknown config key in known_pixels 'dataset'; did you mean 'data'?",
            "data",
            "images",
            "pixels",
            "rows",
        ),
        dataset=DIGITS,
        rows=3,
    ),
    sampling("known_number", "c.yml: known_pixels should be a mapping of keys to values, not 3", known_pixels=3),
    known(
        "dataset_shape",
        "known_pixels: the model draws images of shape [6, 6, 1], the dataset mnist5k has [28, 28, 1]",
        data=DIGITS,
        rows=3,
    ),
    known("dataset_far", f"unknown dataset 'zzz'; valid: {', '.join(DATASETS)}", data={"name": "zzz"}, rows=3),
    known("file_missing", f"{GIVEN} does not exist", images="{here}/k.npz", rows=3),
    known("file_text", f"{GIVEN} is damaged, or not an .npz file", holds(b"text")),
    known("file_name", f"{GIVEN} has no array 'images'; it has: pictures", npz(pictures=np.zeros((4, 6, 6, 1)))),
    known(
        "file_floats",
        f"{GIVEN}: samples should be uint8 of shape (batch, height, width, channels), not float64 of shape (4, 36)",
        npz(samples=np.zeros((4, 36))),
    ),
    known(
        "file_shape",
        "known_pixels: the model draws images of shape [6, 6, 1], the file '{here}/k.npz' has [8, 8, 1]",
        npz(images=np.zeros((4, 8, 8, 1), np.uint8)),
    ),
    known(
        "file_few", f"{GIVEN} has 3 images, the config says batch_size: 4", npz(images=np.zeros((3, 6, 6, 1), np.uint8))
    ),
    sampling("head_near", "head: unknown option 'bond'; did you mean 'bound'? valid: bound", head={"bond": 3}),
    sampling("head_far", "head: unknown option 'temperature'; valid: bound", head={"temperature": 1}),
    sampling("head_range", "head: bound must be more than 0, not -1.0", head={"bound": -1}),
    sampling("head_number", "head: bound should be a number, not 'wide'", head={"bound": "wide"}),
    sampling("head_text", "c.yml: head should be a mapping of keys to values, not 'cold'", head="cold"),
]

EVALUATE_KEYS = ("checkpoint", "model", "data", "part", "draws", "max_images", "seed")  # beside batch_size
EVALUATING = [
    evaluating("evaluate_shape", "model made draws images of shape [6, 6, 1], the dataset mnist5k has [28, 28, 1]"),
    evaluating("evaluate_part", "c.yml: part should be 'held_out' or 'train', not 'test'", part="test"),
    evaluating("evaluate_nothing", "c.yml: checkpoint is missing", checkpoint=LEFT_OUT),
    evaluating("evaluate_null", "c.yml: checkpoint should be text, not null", checkpoint=None),
    evaluating(
        "evaluate_checkpoint",
        re.compile("unknown checkpoint 'made_mnst'; did you mean 'made_mnist'. valid: made_mnist, .*"),
        checkpoint="made_mnst",
    ),
    evaluating(
        "evaluate_conflict",
        "{here}/w.safetensors: the config says num_inputs: 49, the checkpoint num_inputs: 36",
        model={"name": "made", "num_inputs": 49},
    ),
    evaluating("evaluate_dataset", f"unknown dataset 'zzz'; valid: {', '.join(DATASETS)}", data={"name": "zzz"}),
    *(
        evaluating(f"evaluate_{key}", f"c.yml: {key} should be at least 1, not 0", **{key: 0})
        for key in ("batch_size", "draws", "max_images")
    ),
    evaluating(
        "evaluate_key",
        near("c.yml: unknown config key 'batch_sze'; did you mean 'batch_size'?", "batch_size", *EVALUATE_KEYS),
        batch_sze=3,
    ),
    training("sample_often", "c.yml: sample_every_epochs should be at least 0, not -1", sample_every_epochs=-1),
]

ROWS = LINES + CONFIGS + OVERRIDES + SOLVERS + MODELS + FILES + PIXELCNNPP + COMPLETING + EVALUATING


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


@pytest.mark.parametrize("row", ROWS)
def test_mistake_is_one_sentence(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = prepare(row, tmp_path)
    before = tree(tmp_path)
    assert main(arguments) == row.code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert_says(captured.err, row.sentence, tmp_path)
    assert tree(tmp_path) == before


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in ROWS]
    assert len(set(names)) == len(names)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program as users start it, with warnings as errors and no settings of the tests."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))} | environment
    command = [sys.executable, "-W", "error", str(ROOT / "main.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


OUTSIDE = ("no_arguments", "solver_near", "checkpoint_damaged_half", "noise_nan")


@pytest.mark.parametrize("row", [row for row in ROWS if row.id in OUTSIDE])
def test_mistake_is_one_sentence_in_a_process_of_its_own(row: Row, tmp_path: Path) -> None:
    arguments = prepare(row, tmp_path)
    before = tree(tmp_path)
    done = run(*arguments)
    assert done.returncode == row.code
    assert done.stdout == ""
    assert_says(done.stderr, row.sentence, tmp_path)
    assert tree(tmp_path) == before


def test_rows_for_processes_of_their_own_exist() -> None:
    assert set(OUTSIDE) <= {row.id for row in ROWS}


NO_GPU = "device gpu is not available to JAX on this machine; use --device cpu or install requirements-gpu.txt"


@pytest.mark.skipif(jax.devices()[0].platform != "cpu" or Path("/dev/nvidiactl").exists(), reason="there is a GPU")
def test_device_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Once where JAX runs already, once where it has yet to start."""
    line = prepare(sampling("", "").values[0], tmp_path)
    before, platforms = tree(tmp_path), jax.config.jax_platforms
    assert main([*line, "--device", "gpu"]) == 2
    assert_says(capfd.readouterr().err, NO_GPU, tmp_path)
    assert jax.config.jax_platforms == platforms
    done = run(*line, "--device", "gpu")
    assert done.returncode == 2
    assert_says(done.stderr, NO_GPU, tmp_path)
    assert tree(tmp_path) == before


def test_no_device_at_all(tmp_path: Path) -> None:
    line = prepare(sampling("", "").values[0], tmp_path)
    done = run(*line, JAX_PLATFORMS="nonsense")
    assert done.returncode == 2
    assert_says(done.stderr, re.compile("JAX finds no device: .*nonsense.*"), tmp_path)


def test_model_of_another_runner(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.MODELS.places, "other", "models.made.model:MADE")
    line = prepare(sampling("", "", model={"name": "other", **SHAPE}).values[0], tmp_path)
    assert main(line) == 2
    assert_says(capfd.readouterr().err, "MADESamplerRunner samples from made, not other", tmp_path)


def test_overrides_that_work(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = prepare(sampling("", "", noise_file=None).values[0], tmp_path)
    overrides = ["batch_size=3", "model.clamp_lambda=1e-3", "solvers.1={name: jacobi, damping: 0.5}", "solvers.0.tol=1"]
    assert main([*line, "--set", *overrides[:2], "--set", *overrides[2:], "--seed", "7"]) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (record["seed"], record["config"]["seed"]) == (7, 7)
    assert record["config"]["batch_size"] == record["system"]["batch_size"] == 3
    assert record["config"]["model"]["clamp_lambda"] == 0.001
    assert [row["options"]["tol"] for row in record["rows"]] == [1.0, 0.0]
    assert record["rows"][1]["options"]["damping"] == 0.5
    assert capfd.readouterr().out.startswith("c: made, random weights, batch 3")


def failing(name: str, sentence: str, status: str, **changes: Any) -> Any:
    return pytest.param(sampling(name, sentence, **changes).values[0], status, id=name)


@pytest.mark.parametrize(
    ("row", "status"),
    [
        failing(
            "max_steps",
            f"jacobi: {ENOUGH}",
            "max_steps_reached",
            solvers=[{"name": "jacobi", "max_steps": 1}],
            code=1,
        ),
        failing(
            "time_limit",
            "sequential: The time limit was reached before the solver converged; raise time_limit_s.",
            "time_limit_reached",
            solvers=["sequential"],
            time_limit_s=1e-9,
            code=1,
        ),
        failing(
            "nan_weights",
            "jacobi: The exact solution itself holds a non-finite value (NaN or infinity); check weights and noise.",
            "nonfinite",
            solvers=["jacobi"],
            checkpoint="{here}/made.pth",
            model={"name": "made"},
            files=(("made.pth", torch_made({"net.0.bias": torch.full((16,), torch.nan)})),),
            code=1,
        ),
    ],
)
@pytest.mark.parametrize("trace", [False, True])
def test_failed_run_says_why_and_leaves_results_that_say_so(
    row: Row, status: str, trace: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = prepare(row, tmp_path)
    assert main([*line, "--set", f"trace={str(trace).lower()}"]) == 1
    captured = capfd.readouterr()
    assert_says(captured.err.splitlines(keepends=True)[-1], row.sentence, tmp_path)
    assert status in captured.out
    record = json.loads((tmp_path / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    assert [row["status"] for row in record["rows"]] == [status]
    assert record["fastest"] is None
    assert (tmp_path / "out" / "traces.npz").exists() == trace


def keeping(tmp_path: Path) -> list[str]:
    """A run whose programs are kept, however quickly they compile."""
    return [*prepare(sampling("", "", solvers=["jacobi"]).values[0], tmp_path), "--verbose", "warning"]


def test_second_run_finds_the_programs_of_the_first(tmp_path: Path) -> None:
    line, cache = keeping(tmp_path), tmp_path / "cache"
    settings = {"TRISOLVE_CACHE": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    first = run(*line, **settings)
    assert (first.returncode, first.stderr) == (0, "")
    entries = tree(cache)
    assert sum(name.startswith("xla/jit_") for name in entries) > 3
    second = run(*line, **settings)
    assert (second.returncode, second.stderr) == (0, "")
    assert tree(cache) == entries
    third = run(*line[:-1], "debug", **settings)
    assert third.stderr.count("Persistent compilation cache hit for 'jit_advance'") > 0
    assert "PERSISTENT COMPILATION CACHE MISS" not in third.stderr


def test_run_needs_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = run(*keeping(tmp_path), TRISOLVE_CACHE=str(tmp_path / "file" / "cache"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("cache", ["/proc/trisolve", "~nobody-of-this-name/cache"])
def test_folder_that_cannot_be_had_is_no_cache(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("TRISOLVE_CACHE", cache)
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        keep_programs()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_cache_is_off_where_jax_is_told_so(tmp_path: Path) -> None:
    done = run(*keeping(tmp_path), TRISOLVE_CACHE=str(tmp_path / "cache"), JAX_ENABLE_COMPILATION_CACHE="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "cache").exists()


def test_damaged_program_is_compiled_again(tmp_path: Path) -> None:
    line, cache = keeping(tmp_path), tmp_path / "cache"
    settings = {"TRISOLVE_CACHE": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    assert run(*line, **settings).returncode == 0
    for path in (cache / "xla").glob("*-cache"):
        path.write_bytes(path.read_bytes()[:100])
    done = run(*line, **settings)
    assert (done.returncode, done.stderr) == (0, "")
