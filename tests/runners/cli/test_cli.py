"""The command line: its mistakes, devices, failures, and the programs that are kept between runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import pytest
import torch

import models
from runners import RUNNERS
from runners.cli.main import main
from runners.measure.programs import keep_programs
from tests.kit.mistakes import (
    BUILT,
    ENOUGH,
    OLD,
    SHAPE,
    Row,
    assert_says,
    bad,
    check_in_a_process_of_its_own,
    check_mistake,
    holds,
    near,
    prepare,
    run,
    sampling,
    torch_made,
    tree,
)

NO_CONFIG = "--config is needed, for example --config made_sampler.yml (or --list, to see what there is)"
LINES = [
    bad("no_arguments", NO_CONFIG),
    bad("no_config", NO_CONFIG, "--runner", "TrainRunner"),
    bad(
        "wrong_pair",
        "made_sampler.yml is for MADESamplerRunner, not TrainRunner",
        *("--runner", "TrainRunner", "--config", "made_sampler.yml"),
    ),
    bad(
        "wrong_pair_of_samplers",
        "wavenet_sampler.yml is for WaveNetSamplerRunner, not SamplerRunner",
        *("--runner", "SamplerRunner", "--config", "wavenet_sampler.yml"),
    ),
    bad(
        "wrong_pair_by_override",
        "made_sampler.yml is for TrainRunner, not MADESamplerRunner",
        *("--runner", "MADESamplerRunner", "--config", "made_sampler.yml", "--set", "runner=TrainRunner"),
    ),
    bad(
        "no_runner",
        f"c.yml does not say which runner it is for: add a line 'runner: NAME' to it, or give --runner; valid: {BUILT}",
        *("--config", "{here}/c.yml"),
        config={"seed": 1},
    ),
    bad(
        "runner_in_config",
        re.compile("unknown runner 'MADESampler'; did you mean 'MADESamplerRunner'.*"),
        *("--config", "{here}/c.yml"),
        config={"runner": "MADESampler"},
    ),
    bad("runner_of_no_keys", re.compile("unknown runner 'Train'; .*"), "--runner", "Train", "--help"),
    bad("flag_without_value", "argument --runner: expected one argument", "--runner"),
    bad(
        "unknown_flag_near",
        near(
            "unknown flag '--confg'; did you mean '--config'?",
            "--config",
            *("--runner", "--set", "--seed", "--out", "--device", "--verbose", "--list", "--download", "--help", "-h"),
            *("--version", "--check", "--compare", "--coordinator", "--num_processes", "--process_id"),
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
        "--out {here} holds other files and no results.json of a run; results would lie among them: choose another",
        *("--out", "{here}"),
        files=(("thesis.txt", holds(b"years of work")),),
    ),
]


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
            "weights_that_overflow",
            "jacobi: The exact solution itself holds a non-finite value (NaN or infinity); check weights and noise.",
            "nonfinite",
            solvers=["jacobi"],
            checkpoint="{here}/made.pth",
            model={"name": "made"},
            files=(("made.pth", torch_made({"net.0.bias": torch.full((16,), 3e38)})),),
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


@pytest.mark.slow
def test_second_run_finds_the_programs_of_the_first_and_is_not_stopped_by_damaged_ones(tmp_path: Path) -> None:
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
    for path in (cache / "xla").glob("*-cache"):  # a damaged one is compiled again
        path.write_bytes(path.read_bytes()[:100])
    done = run(*line, **settings)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
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


@pytest.mark.slow
def test_cache_is_off_where_jax_is_told_so(tmp_path: Path) -> None:
    done = run(*keeping(tmp_path), TRISOLVE_CACHE=str(tmp_path / "cache"), JAX_ENABLE_COMPILATION_CACHE="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "cache").exists()


ROWS = LINES


@pytest.mark.parametrize("row", ROWS)
def test_mistake_is_one_sentence(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check_mistake(row, tmp_path, capfd)


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in ROWS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", [row for row in ROWS if row.id == "no_arguments"])
def test_mistake_is_one_sentence_in_a_process_of_its_own(row: Row, tmp_path: Path) -> None:
    check_in_a_process_of_its_own(row, tmp_path)
