"""Eight virtual devices against one, and two real processes against one, one of them killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml

from common.paths import ROOT
from tests.kit.mistakes import Row, bad, check_mistake, sampling

AGAINST = 1e-4  # rounding of products of other shapes, grown along 16 to 48 equations
LOST_S = 60
TRAINING = {
    **{"runner": "TrainRunner", "model": {"name": "made", "num_inputs": 784, "hidden_sizes": [16]}, "batch_size": 48},
    **{"epochs": 2, "warmup_steps": 3, "max_train_images": 240, "max_held_out_images": 50, "save_every_s": 0},
}
SAMPLER = {
    **{"runner": "MADESamplerRunner", "model": {"name": "made", "num_inputs": 36, "hidden_sizes": [16]}, "seed": 1},
    **{"batch_size": 4, "solvers": ["cached_sequential", "jacobi"], "repeats": 1, "trace": False},
}


def eight_devices(*arguments: str) -> dict[str, Any]:
    line = [sys.executable, "-m", "tests.kit.eight_devices", *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_eight_devices_solve_as_one_does() -> None:
    found = eight_devices()
    for axis in ("batch", "equations"):
        plain = found[f"explicit, {axis}"]
        assert plain["apart"] < AGAINST
        assert plain["divided"]
        assert plain["types"] == "(Explicit,)"
    assert max(found["explicit systems"].values()) < AGAINST
    batch, equations = found["batch"], found["equations"]
    assert batch["of_a_share"] == 0  # bit for bit what one device makes of the same samples
    assert batch["status"] == equations["status"] == "converged"
    assert max(batch["residual"], equations["residual"]) <= AGAINST
    assert batch["collectives"] <= 2
    assert equations["collectives"] <= 4
    assert found["default"] == {}  # eight do not divide three samples
    refusals = found["refusals"]
    assert refusals["too_many"] == ("mesh: batch 4 times equations 4 is 16 devices, JAX finds 8; try {batch: 8}")
    assert refusals["uneven_batch"] == ("mesh: batch 5 does not divide a batch of 16 evenly; the nearest that does: 4")
    assert refusals["uneven_equations"].endswith("16 equations evenly; the nearest that does: 4")
    assert re.fullmatch(r"mesh: equations cannot be divided: .* mesh: \{batch: N\}", refusals["pixelcnnpp"])


@pytest.mark.slow  # two minutes of compiling; the cousin above has one solver and three systems
def test_every_solver_on_eight_devices() -> None:
    for name, found in eight_devices("all").items():
        assert found["status"] == found["one"], name
        if found["one"] == "converged":
            assert found["residual"] <= AGAINST, name
            assert found["apart"] <= AGAINST, name


MISTAKES = [
    sampling(
        "mesh_axis",
        "c.yml: unknown config key in mesh 'bach'; did you mean 'batch'? valid: batch, equations",
        mesh={"bach": 2},
    ),
    sampling("mesh_zero", "c.yml: mesh.batch should be at least 1, not 0", mesh={"batch": 0}),
    sampling(
        "mesh_too_many",
        f"mesh: batch 64 times equations 1 is 64 devices, JAX finds {jax.device_count()}; try {{batch: 1}}",
        mesh={"batch": 64},
    ),
    pytest.param(
        Row(
            re.compile("c.yml: mesh: .*this experiment runs on one device, as it makes one sample after the other; .*"),
            ("--runner", "StreamRunner", "--config", "{here}/c.yml", "--out", "{here}/out"),
            {"checkpoint": "wavenet_speech", "mesh": {"batch": 2}},
        ),
        id="mesh_of_one",
    ),
    sampling(
        "process_alone",
        "--process_id needs --coordinator HOST:PORT, the address of the first process, or auto",
        "--process_id",
        "0",
    ),
    sampling(
        "process_range",
        "--process_id 2 should be from 0 to 1, less than --num_processes",
        *("--coordinator", "127.0.0.1:1", "--num_processes", "2", "--process_id", "2"),
    ),
    sampling(
        "coordinator_port",
        "--coordinator 'there' should be HOST:PORT, such as 127.0.0.1:12345, or auto",
        *("--coordinator", "there"),
    ),
    sampling(
        "coordinator_auto",
        "--num_processes does not go with --coordinator auto, which finds out by itself",
        *("--coordinator", "auto", "--num_processes", "2"),
    ),
    bad("processes_number", re.compile(".*--num_processes.*invalid int value.*"), "--num_processes", "two"),
]


@pytest.mark.parametrize("row", MISTAKES)
def test_mistakes(row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_mistake(row, tmp_path, capsys)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def processes(config: Path, out: Path, *more: str, devices: int = 1, count: int = 2) -> list[subprocess.Popen[str]]:
    """So many processes that run a config together, each on so many virtual devices."""
    address = f"127.0.0.1:{free_port()}"
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": flags}
    line = [sys.executable, "main.py", "--config", str(config), "--out", str(out), *more]
    together = ["--coordinator", address, "--num_processes", str(count)] if count > 1 else []
    started = []
    for i in range(count):
        own = [*together, "--process_id", str(i)] if together else []
        started.append(
            subprocess.Popen(
                [*line, *own], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
    return started


def finished(started: list[subprocess.Popen[str]]) -> None:
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


@pytest.mark.slow  # two processes that compile; the cousins below begin and end as two
def test_two_processes_sample_as_one_does(tmp_path: Path) -> None:
    config = tmp_path / "c.yml"
    config.write_text(yaml.safe_dump(SAMPLER))
    finished([*processes(config, tmp_path / "one", count=1), *processes(config, tmp_path / "two")])
    record = json.loads((tmp_path / "two" / "results.json").read_text())
    assert record["device"]["processes"] == 2
    assert record["device"]["mesh"] == {"batch": 2, "equations": 1}
    assert [row["mismatched_equations"] for row in record["rows"]] == [0, 0]
    with np.load(tmp_path / "one" / "samples.npz") as one, np.load(tmp_path / "two" / "samples.npz") as two:
        np.testing.assert_array_equal(one["logistic_noise"], two["logistic_noise"])
        np.testing.assert_allclose(one["samples"], two["samples"], atol=AGAINST)


def test_what_the_first_process_refuses_ends_all(tmp_path: Path) -> None:
    config, out = tmp_path / "c.yml", tmp_path / "out"
    config.write_text(yaml.safe_dump(SAMPLER))
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for process in processes(config, out):
        _, errors = process.communicate(timeout=LOST_S)
        assert process.returncode != 0
        assert re.search(f"error: --out {re.escape(str(out))} holds other files", errors)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


@pytest.mark.slow  # several starts of the program; the tests above start two processes too
@pytest.mark.parametrize("killed", [0, 1])
def test_a_training_goes_on_elsewhere_after_a_process_was_lost(killed: int, tmp_path: Path) -> None:
    config, out = tmp_path / "c.yml", tmp_path / "out"
    config.write_text(yaml.safe_dump(TRAINING))
    finished(processes(config, out, "--set", f"state_dir={tmp_path / 'own'}", count=1))
    before = (out / "results.json").read_text()
    longer = ("--set", f"state_dir={tmp_path / 'state'}", "eval_every_epochs=1")
    started = processes(config, out, *longer)
    states = tmp_path / "state" / "states"
    while not (states.is_dir() and any(path.name.isdigit() for path in states.iterdir())):
        assert all(process.poll() is None for process in started)
        time.sleep(0.05)
    began = time.monotonic()
    started[killed].send_signal(signal.SIGKILL)
    _, errors = started[1 - killed].communicate(timeout=LOST_S)
    assert time.monotonic() - began <= LOST_S
    assert started[1 - killed].returncode != 0
    # Ours where it waited for the other, JAX's where it did something else.
    assert re.search("error: another process of this run has ended|Terminating process because", errors)
    started[killed].communicate()
    assert (out / "results.json").read_text() == before
    finished(processes(config, tmp_path / "resumed", *longer, devices=3, count=1))
    histories = [json.loads((tmp_path / name / "results.json").read_text())["history"] for name in ("out", "resumed")]
    for one, resumed in zip(*histories, strict=True):
        assert resumed["step"] == one["step"]
        assert resumed["train_bits_per_dim"] == pytest.approx(one["train_bits_per_dim"], rel=1e-5)
        assert resumed["held_out_bits_per_dim_ema"] == pytest.approx(one["held_out_bits_per_dim_ema"], rel=1e-5)
