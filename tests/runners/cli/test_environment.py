"""Where the program is run, and by whom: names, homes, terminals, precision and disks that are not the usual ones."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml

from common.paths import ROOT
from runners.cli.main import main
from runners.cli.publish import publish
from runners.experiment import RunContext
from runners.plotting.picture import Picture
from runners.report.console import TextConsole
from runners.report.report import Report
from runners.sampling.runner import SamplerRunner
from tests.kit.smallest import CASES, WAVENET

MADE: dict[str, Any] = {
    **{"model": {"name": "made", "num_inputs": 12, "hidden_sizes": [6]}, "solvers": ["jacobi"]},
    **{"batch_size": 2, "repeats": 1, "seed": 1},
}
SOUND: dict[str, Any] = {
    **{"model": WAVENET, "head": {"name": "argmax"}, "num_samples": 20, "solvers": ["jacobi", "cached_sequential"]},
    **{"batch_size": 2, "repeats": 1, "seed": 1, "trace": False},
}
ROOT_ONLY = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
STRANGER = 54321  # a user without an account


def run(
    folder: Path, config: dict[str, Any], runner: str = "MADESamplerRunner", name: str = "c.yml", out: str = "out"
) -> int:
    """The program in this process; ``name`` is the config's, ``out`` a path from ``folder``."""
    (folder / name).write_text(yaml.safe_dump(config), encoding="utf-8")
    return main(["--runner", runner, "--config", str(folder / name), "--out", str(folder / out)])


def record(out: Path) -> dict[str, Any]:
    """Results in strict JSON, whose files are all there."""
    found: dict[str, Any] = json.loads((out / "results.json").read_text(), parse_constant=pytest.fail)
    assert sorted(found["files"]) == sorted(path.name for path in out.iterdir())
    return found


# Names.


def test_names_are_shown_and_drawn_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, MADE, name="run[final] $^$ [b].yml", out="d[/a] $x_$/out") == 0
    said = capsys.readouterr()
    assert "run[final] $^$ [b]: made" in said.out
    assert "d[/a] $x_$/out" in said.err
    assert "warning" not in said.err
    assert "samples.png" in record(tmp_path / "d[/a] $x_$" / "out")["files"]


def test_names_of_cells_are_shown_and_drawn_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner, config = CASES["forward_rnn"]
    config = config | {"cells": {"$^$ [/a]": {"network": {"cell": "gru"}}}, "sequence_lengths": [8], "state_sizes": [2]}
    assert run(tmp_path, config | {"seed": 1}, runner) == 0
    said = capsys.readouterr()
    assert "$^$ [/a]" in said.out
    assert "warning" not in said.err
    assert any(name.endswith(".png") for name in record(tmp_path / "out")["files"])


# Homes and accounts.


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "c.yml").write_text(yaml.safe_dump(MADE | {"trace": False}))
    assert main(["--runner", "MADESamplerRunner", "--config", "~/c.yml", "--out", "~/out"]) == 0
    assert record(tmp_path / "home" / "out")["name"] == "c"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


UNKNOWN = "error: '~nosuch/x': the home folder that it begins with is not known; write the whole path\n"


@pytest.mark.parametrize(
    ("case", "key"),
    [
        *[
            ("made", key)
            for key in ("checkpoint", "noise_file", "known_pixels={pixels: 1, images", "--out", "--config")
        ],
        *[("wavenet", key) for key in ("prompt.wav", "prompt={file", "conditioning_file")],
        *[("stream", key) for key in ("wav", "save_state", "restore_state", "checkpoint")],
        *[("train", "state_dir"), ("train_wavenet", "data.wav"), ("train_wavenet", "state_dir")],
        *[("evaluate", "checkpoint"), ("densenet", "checkpoint")],
        ("train", "data={name: mnist, root"),
    ],
)
def test_a_home_that_is_not_known_is_one_sentence(
    case: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner, config = CASES[case]
    (tmp_path / "c.yml").write_text(yaml.safe_dump(config).replace("FOLDER", str(tmp_path)))
    line = ["--runner", runner, "--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]
    end = "}" if "{" in key else ""
    separator = ": " if end else "="
    line += [key, "~nosuch/x"] if key.startswith("--") else ["--set", f"{key}{separator}~nosuch/x{end}"]
    assert main(line) == 2
    assert capsys.readouterr().err == UNKNOWN
    assert not (tmp_path / "out").exists()


@ROOT_ONLY
def test_whoever_has_no_account_and_no_home_may_look(tmp_path: Path) -> None:
    """With the folder of the script not on the path, as PYTHONSAFEPATH=1 has it."""
    env = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME", "TRISOLVE_CACHE")
    }
    line = [sys.executable, str(ROOT / "main.py"), "--list"]
    options: dict[str, Any] = {"env": env | {"PYTHONSAFEPATH": "1"}, "capture_output": True, "text": True, "cwd": "/"}
    try:
        done = subprocess.run(line, user=STRANGER, group=STRANGER, extra_groups=[], check=False, **options)
    except PermissionError:
        pytest.skip("Python lies where others may not read")
    if "Permission denied" in done.stderr:
        pytest.skip("the project lies where others may not read")
    assert (done.returncode, done.stderr) == (0, "")
    assert "MADESamplerRunner" in done.stdout


# Terminals.


@pytest.fixture
def gone() -> Iterator[io.TextIOWrapper]:
    """A pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_who_is_gone_costs_no_results(
    name: str, gone: io.TextIOWrapper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, name, gone)
        assert run(tmp_path, MADE) == 0
        assert main(["--list"]) == 0
    assert record(tmp_path / "out")["rows"][0]["status"] == "converged"


def test_a_refusal_that_nobody_reads_is_one(gone: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", gone)
        assert main(["--runner", "x", "--config", "made_sampler.yml"]) == 2


def test_a_terminal_without_such_letters_shows_them_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        assert run(tmp_path, MADE | {"trace": False}, name="\u00e4\u4e2d.yml", out="\u00e4") == 0
    out, err = (stream.buffer.getvalue().decode("ascii") for stream in streams)  # type: ignore[attr-defined]
    assert "\\xe4\\u4e2d: made" in out
    assert "\\xe4" in err
    assert record(tmp_path / "\u00e4")["name"] == "\u00e4\u4e2d"


# Double precision.


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("runner", "config"),
    [
        pytest.param("MADESamplerRunner", MADE, id="made", marks=pytest.mark.slow),
        pytest.param(
            "SamplerRunner",
            {
                "model": {
                    **{"name": "pixelcnnpp", "image_shape": [4, 8, 3], "nr_resnet": 1, "nr_filters": 2},
                    "nr_logistic_mix": 2,
                },
                "solvers": [{"name": "gs_jacobi", "block_size": 24}, "cached_sequential"],
                **{"batch_size": 1, "repeats": 1, "trace": False, "seed": 1},
            },
            id="pixelcnnpp",
        ),
        pytest.param(
            "WaveNetSamplerRunner",
            SOUND | {"continue_s": 0.01, "model": {**WAVENET, "block": "gated"}, "head": {"name": "gumbel"}},
            id="wavenet",
        ),
        pytest.param(*CASES["densenet"], id="densenet"),
        *(
            pytest.param(*CASES[case], id=case, marks=pytest.mark.slow)
            for case in CASES
            if case not in ("made", "pixelcnnpp", "wavenet", "densenet")
        ),
    ],
)
def test_every_runner_runs_in_double_precision(runner: str, config: dict[str, Any], tmp_path: Path) -> None:
    plain = json.loads(json.dumps({"seed": 1, **config}).replace("FOLDER", str(tmp_path)))
    assert run(tmp_path, plain, runner) == 0
    assert record(tmp_path / "out")["precision"] == "float64"


# Products of float32 numbers.


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs are made as for a GPU, and run on the processor, which keeps passes apart in its own way."""
    before = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr("solvers.equations.on_cpu", lambda: True)
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("change", [{}, {"precision": "tensorfloat32"}])
def test_a_run_multiplies_as_its_config_says_and_tells_it(change: dict[str, str], tmp_path: Path) -> None:
    runner, config = CASES["system"]
    assert run(tmp_path, config | {"trace": False} | change, runner) == 0
    found = record(tmp_path / "out")
    assert found["matmul_precision"] == change.get("precision", "float32")
    assert "precision" not in found["config"]
    assert jax.config.jax_default_matmul_precision == found["matmul_precision"]  # type: ignore[attr-defined]


def test_a_run_on_a_cpu_multiplies_in_float32_and_tells_jax_nothing(tmp_path: Path) -> None:
    runner, config = CASES["system"]
    assert run(tmp_path, config | {"trace": False, "precision": "bfloat16"}, runner) == 0
    assert record(tmp_path / "out")["matmul_precision"] == "float32"
    assert jax.config.jax_default_matmul_precision is None  # type: ignore[attr-defined]


# The smallest and the largest.


@pytest.mark.parametrize(
    ("runner", "config"),
    [
        ("MADESamplerRunner", MADE | {"model": {"name": "made", "num_inputs": 1, "hidden_sizes": [2]}}),
        ("WaveNetSamplerRunner", SOUND | {"num_samples": 1, "trace": True}),
    ],
)
def test_one_equation_is_a_system(runner: str, config: dict[str, Any], tmp_path: Path) -> None:
    names = ["sequential", "cached_sequential", "jacobi", {"name": "gs_jacobi", "block_size": 1}]
    assert run(tmp_path, config | {"solvers": names}, runner) == 0
    found = record(tmp_path / "out")
    assert {row["status"] for row in found["rows"]} == {"converged"}
    assert found["system"]["num_equations"] == 1


def test_many_steps_allowed_are_not_many_steps_of_memory(tmp_path: Path) -> None:
    names = [{"name": name, "max_steps": 10_000_000} for name in ("sequential", "jacobi")]
    assert run(tmp_path, MADE | {"solvers": names}) == 0
    with np.load(tmp_path / "out" / "traces.npz") as arrays:
        assert max(arrays[name].size for name in arrays) < 1000


# Folders and disks.


@pytest.mark.slow
def test_a_current_folder_that_is_taken_away_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, plain = tmp_path / "here", SamplerRunner.run
    here.mkdir()
    (tmp_path / "c.yml").write_text(yaml.safe_dump(MADE | {"trace": False}))

    def taken(self: SamplerRunner) -> Report:
        shutil.rmtree(here)
        return plain(self)

    monkeypatch.chdir(here)
    monkeypatch.setattr(SamplerRunner, "run", taken)
    code = main(["--runner", "MADESamplerRunner", "--config", str(tmp_path / "c.yml"), "--out", "out"])
    monkeypatch.chdir(tmp_path)
    assert code == 0
    assert record(here / "out")["rows"][0]["status"] == "converged"


def test_a_folder_that_may_not_be_written_to_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "kept").mkdir(mode=0o555)
    (tmp_path / "c.yml").write_text(yaml.safe_dump(MADE))
    line = ["--runner", "MADESamplerRunner", "--config", str(ROOT / "configs" / "made_sampler.yml")]
    is_root = os.name == "posix" and os.geteuid() == 0
    if is_root:
        os.seteuid(STRANGER)  # whom alone the folder's mode keeps out
    try:
        code = main([*line, "--out", str(tmp_path / "kept")])
    finally:
        if is_root:
            os.seteuid(0)
    assert code == 2
    assert "nothing can be written there: Permission denied" in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let the tests mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("taken_kib", range(0, 240, 12))
def test_a_full_disk_keeps_old_results_or_takes_new_ones(small_disk: Path, taken_kib: int) -> None:
    """With less and less room: first a picture is missing, then the run fails, and the old results stay."""

    def report(seed: int, kib: int) -> Report:
        noise = np.random.default_rng(seed).bytes(kib * 1024)
        arrays = {"a.npz": {"x": np.frombuffer(noise, np.uint8)}}
        pictures = [Picture("a.png", lambda: noise), Picture("b.png", lambda: noise)]
        return Report(kind="t", title="t", config={"seed": seed}, record={}, arrays=arrays, artifacts=pictures)

    def seed_of_results() -> int:
        found = record(small_disk / "out")
        with np.load(small_disk / "out" / "a.npz") as arrays:
            kib = arrays["x"].size // 1024
            assert arrays["x"].tobytes() == np.random.default_rng(found["seed"]).bytes(kib * 1024)
        return int(found["seed"])

    context = RunContext("R", "r", small_disk / "out", TextConsole(file=io.StringIO()))
    publish(report(1, 4), context)
    (small_disk / "other").write_bytes(b"x" * 1024 * taken_kib)
    try:
        publish(report(2, 40), context)
        expected = 2
    except OSError:
        expected = 1
    assert seed_of_results() == expected
