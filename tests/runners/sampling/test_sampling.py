"""A sampler's experiment from the command line to the files that it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx
from PIL import Image

import solvers
from common.paths import ROOT
from models import MODELS
from models.made.model import MADEConfig
from models.weights.native import save_checkpoint
from runners import RUNNERS
from runners.cli.main import main
from runners.measure.timing import CompiledSolve
from solvers import Jacobi, Solver
from solvers.solver import StepInfo
from tests.kit.results import OLD_RESULTS
from tests.kit.solvers import in_the_table

SIZE, BATCH = 36, 4
BLOCKS = {"gs_jacobi": 8, "jacobi_gs": 6}
NAMES = ["sequential", "cached_sequential", "jacobi", *BLOCKS]  # of every solver see the tests of solvers
ENTRIES: list[dict[str, Any]] = [
    {"name": name} | ({"block_size": BLOCKS[name]} if name in BLOCKS else {}) for name in NAMES
]
PICTURES = {"samples.png", "convergence_by_step.png", "convergence_by_time.png", "solving.gif"}
EVERYTHING = {"results.json", "samples.npz", "traces.npz", "frames.npz"} | PICTURES


def train_nothing(path: Path) -> None:
    """A checkpoint of a tiny MADE whose pixels really depend on each other."""
    model = MODELS["made"](MADEConfig(SIZE, (16, 12), 1e-3), rngs=nnx.Rngs(0))
    model.layers[-1].kernel[...] = 10.0 * model.layers[-1].kernel[...]
    save_checkpoint(path, "made", model, {"dataset": "none", "bits_per_dim": 8.0})


def command(folder: Path, *more: str, **changes: Any) -> list[str]:
    """The command line of a run whose files are all in ``folder``."""
    checkpoint = folder / "tiny.safetensors"
    if not checkpoint.exists():
        train_nothing(checkpoint)
    config = {
        "checkpoint": str(checkpoint),
        "batch_size": BATCH,
        "solvers": ENTRIES,
        "repeats": 1,
        "seed": 1,
        **changes,
    }
    (folder / "tiny.yml").write_text(yaml.safe_dump(config))
    line = ["--runner", "MADESamplerRunner", "--config", str(folder / "tiny.yml"), "--out", str(folder / "out")]
    return [*line, *more]


def sample(folder: Path, *more: str, **changes: Any) -> int:
    return main(command(folder, *more, **changes))


def results(folder: Path) -> dict[str, Any]:
    """results.json; a NaN or an infinity in it would not be JSON."""
    record: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    return record


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, hidden or not, with the files' bytes."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every solver."""
    folder = tmp_path_factory.mktemp("finished")
    assert sample(folder) == 0
    return folder


@pytest.fixture
def record(finished: Path) -> dict[str, Any]:
    return results(finished)


TIMES = {"median": float, "q1": float, "q3": float, "n": int}
NUMBER_OR_NONE = (float, type(None))
RECORD = {
    "schema": int,
    "kind": str,
    "name": str,
    "runner": str,
    "config": {
        "model": dict,
        "checkpoint": str,
        "batch_size": int,
        "noise_file": type(None),
        "head": dict,
        "known_pixels": type(None),
        "equations": dict,
        "judge": type(None),
        "guess": {"name": str, "n": type(None), "file": type(None)},
        "solvers": list,
        "repeats": int,
        "time_limit_s": type(None),
        "trace": bool,
        "seed": int,
        "weights": dict,
    },
    "seed": int,
    "device": {"platform": str, "kind": str, "count": int, "mesh": dict, "processes": int},
    "versions": dict.fromkeys(("python", "jax", "jaxlib", "flax", "optax", "numpy"), str),
    "precision": str,
    "matmul_precision": str,
    "git_commit": (str, type(None)),
    "wall_s": float,
    "files": list,
    "skipped": list,
    "system": {"name": str, "num_equations": int, "batch_size": int, "sweep_s": TIMES, "sweep_flops": NUMBER_OR_NONE},
    "error_reference": str,
    "fastest": str,
    "rows": list,
}
ROW = {
    "solver": str,
    "label": str,
    "options": dict,
    "status": str,
    "num_steps": int,
    "num_iterations": int,
    "sweep_equivalents": float,
    "guess_resets": int,
    "steps_to_convergence": list,
    "compile_s": float,
    "run_s": TIMES,
    "speedup_vs_sequential": NUMBER_OR_NONE,
    "speedup_vs_cached": NUMBER_OR_NONE,
    "max_residual": float,
    "mismatched_equations": int,
    "max_abs_error": float,
    "peak_memory_bytes": (int, type(None)),
}


def assert_shaped(value: Any, shape: Any, where: str = "results") -> None:
    """Exactly the keys that are wanted, with values of the right types."""
    if not isinstance(shape, dict):
        assert isinstance(value, shape), f"{where} is {value!r}"
        assert isinstance(value, bool) == (shape is bool), f"{where} is {value!r}"
        return
    assert set(value) == set(shape), where
    for key, inner in shape.items():
        assert_shaped(value[key], inner, f"{where}.{key}")


def test_results_have_every_key_with_the_right_type(record: dict[str, Any]) -> None:
    assert_shaped(record, RECORD)
    for row in record["rows"]:
        assert_shaped(row, ROW, row["label"])


def test_results_say_what_was_run(record: dict[str, Any], finished: Path) -> None:
    assert (record["schema"], record["kind"], record["name"]) == (2, "sampling", "tiny")
    assert record["runner"] == "MADESamplerRunner"
    assert record["seed"] == record["config"]["seed"] == 1
    assert record["config"]["model"] == {
        "name": "made",
        "num_inputs": SIZE,
        "hidden_sizes": [16, 12],
        "clamp_lambda": 1e-3,
        "image_shape": None,
    }
    assert record["config"]["weights"] == {"dataset": "none", "bits_per_dim": 8.0}
    assert record["config"]["checkpoint"] == str(finished / "tiny.safetensors")
    system = record["system"]
    assert (system["name"], system["num_equations"], system["batch_size"]) == ("made", SIZE, BATCH)
    assert record["device"]["platform"] == "cpu"


def test_rows_are_the_config_s_solvers_with_all_options(record: dict[str, Any]) -> None:
    assert [row["label"] for row in record["rows"]] == NAMES  # each once, so a name is enough
    assert [row["solver"] for row in record["rows"]] == NAMES
    listed = [{"name": row["solver"], **row["options"]} for row in record["rows"]]
    assert listed == record["config"]["solvers"]
    assert all(listed[i].items() >= ENTRIES[i].items() for i in range(len(ENTRIES)))
    assert all({"tol", "max_steps"} <= set(row["options"]) for row in record["rows"])


def test_rows_are_right(record: dict[str, Any]) -> None:
    rows = {row["label"]: row for row in record["rows"]}
    assert {row["status"] for row in rows.values()} == {"converged"}
    assert {name: row["mismatched_equations"] for name, row in rows.items()} == dict.fromkeys(rows, 0)
    assert all(row["max_residual"] <= 1e-4 for row in rows.values())
    assert record["error_reference"] == "sequential"
    assert rows["sequential"]["max_abs_error"] == rows["jacobi"]["max_abs_error"] == 0
    assert rows["sequential"]["max_residual"] == rows["jacobi"]["max_residual"] == 0
    assert rows["sequential"]["num_steps"] == rows["cached_sequential"]["num_steps"] == SIZE
    assert 2 < rows["jacobi"]["num_steps"] <= SIZE + 1
    assert all(len(row["steps_to_convergence"]) == BATCH for row in rows.values())
    assert all(max(row["steps_to_convergence"]) == row["num_steps"] for row in rows.values())


def test_times_and_speedups_agree(record: dict[str, Any]) -> None:
    rows = {row["label"]: row for row in record["rows"]}
    assert record["system"]["sweep_s"]["n"] >= 20
    for times in [record["system"]["sweep_s"], *(row["run_s"] for row in rows.values())]:
        assert 0 < times["q1"] <= times["median"] <= times["q3"]
    for row in rows.values():
        assert row["run_s"]["n"] == 1
        for key, base in (("speedup_vs_sequential", "sequential"), ("speedup_vs_cached", "cached_sequential")):
            assert row[key] == pytest.approx(rows[base]["run_s"]["median"] / row["run_s"]["median"])
    assert rows[record["fastest"]]["run_s"]["median"] == min(row["run_s"]["median"] for row in rows.values())


def test_everything_is_there_and_nothing_else(finished: Path) -> None:
    assert {path.name for path in (finished / "out").iterdir()} == EVERYTHING
    assert {path.name for path in finished.iterdir()} == {"tiny.safetensors", "tiny.yml", "out"}
    for name in PICTURES:
        with Image.open(finished / "out" / name) as image:
            image.load()
            assert min(image.size) > 10


def test_samples_are_batch_first_with_the_noise_beside_them(finished: Path) -> None:
    samples = arrays(finished / "out" / "samples.npz")
    assert {name: (array.shape, str(array.dtype)) for name, array in samples.items()} == {
        "samples": ((BATCH, SIZE), "float32"),
        "logistic_noise": ((BATCH, SIZE), "float32"),
        "seed": ((), "uint32"),
    }
    assert np.isfinite(samples["samples"]).all()
    assert samples["seed"] == 1


def test_traces_end_at_the_solution(finished: Path, record: dict[str, Any]) -> None:
    traces = arrays(finished / "out" / "traces.npz")
    names = {"num_steps", "time_s", "residual", "frontier", "error", "error_mean"}
    assert set(traces) == {f"{label}/{name}" for label in NAMES for name in names}
    for row in record["rows"]:
        trace = {name: traces[f"{row['label']}/{name}"] for name in names}
        assert {array.shape for array in trace.values()} == {(row["num_iterations"],)}
        assert trace["num_steps"][-1] == row["num_steps"]
        # What follows a solve is a program of its own, in which a solver with a tolerance may stop elsewhere within it.
        assert trace["error"][-1] == pytest.approx(row["max_abs_error"], abs=row["options"].get("tol", 0.0))
        assert (np.diff(trace["time_s"]) >= 0).all()
        assert (np.diff(trace["frontier"]) >= 0).all()
        assert (trace["error_mean"] <= trace["error"] * 1.0001).all()
    assert traces["jacobi/frontier"][-1] == SIZE


def test_frames_go_from_the_guess_to_the_samples(finished: Path) -> None:
    frames = arrays(finished / "out" / "frames.npz")
    assert set(frames) == {f"{label}/{name}" for label in NAMES for name in ("frames", "time_s", "num_steps")}
    for label in NAMES:
        images, count = frames[f"{label}/frames"], len(frames[f"{label}/time_s"])
        assert images.shape == (count, BATCH, 6, 6, 1)
        assert images.dtype == np.uint8
        assert (images[0] == frames["sequential/frames"][0]).all()
        assert np.abs(images[-1].astype(int) - frames["sequential/frames"][-1]).max() <= 1
        assert frames[f"{label}/time_s"][0] == frames[f"{label}/num_steps"][0] == 0
    assert (frames["jacobi/frames"][0] != frames["jacobi/frames"][-1]).any()


def test_same_noise_gives_the_same_samples_and_another_seed_others(finished: Path, tmp_path: Path) -> None:
    quick = {"solvers": ["sequential"], "trace": False}
    first = arrays(finished / "out" / "samples.npz")
    noise_file = str(finished / "out" / "samples.npz")
    assert sample(tmp_path, seed=2, noise_file=noise_file, **quick) == 0
    again = arrays(tmp_path / "out" / "samples.npz")
    assert again["samples"].tobytes() == first["samples"].tobytes()
    assert again["logistic_noise"].tobytes() == first["logistic_noise"].tobytes()
    assert sample(tmp_path, "--seed", "2", **quick) == 0
    others = arrays(tmp_path / "out" / "samples.npz")
    assert others["seed"] == 2
    assert (others["logistic_noise"] != first["logistic_noise"]).mean() > 0.99
    assert (others["samples"] != first["samples"]).mean() > 0.5


def test_without_trace_there_are_no_traces_and_the_old_ones_go(tmp_path: Path) -> None:
    assert sample(tmp_path, solvers=["jacobi"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == EVERYTHING
    assert sample(tmp_path, solvers=["jacobi"], trace=False) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.json", "samples.npz", "samples.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.safetensors", "tiny.yml", "out"}
    assert results(tmp_path)["error_reference"] == "jacobi"
    assert results(tmp_path)["rows"][0]["speedup_vs_sequential"] is None  # no baseline, no speed-up


def test_a_solver_may_have_repeats_and_trace_of_its_own(tmp_path: Path) -> None:
    entries = [{"name": "sequential", "repeats": 1}, {"name": "jacobi", "trace": True}, "gs_jacobi"]
    assert sample(tmp_path, solvers=entries, repeats=3, trace=False) == 0
    record = results(tmp_path)
    assert [row["run_s"]["n"] for row in record["rows"]] == [1, 3, 3]
    assert [row["label"] for row in record["rows"]] == ["sequential", "jacobi", "gs_jacobi"]
    told = [{key: entry.get(key) for key in ("repeats", "trace")} for entry in record["config"]["solvers"]]
    assert told == [{"repeats": 1, "trace": None}, {"repeats": None, "trace": True}, {"repeats": None, "trace": None}]
    assert all(set(row["options"]).isdisjoint({"repeats", "trace"}) for row in record["rows"])
    for file in ("traces.npz", "frames.npz"):
        assert {name.split("/")[0] for name in arrays(tmp_path / "out" / file)} == {"jacobi"}


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_long_run_is_not_warmed_up_and_is_followed_in_one(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeats: int
) -> None:
    """Every run is taken for a long one; its trace and frames are those of short ones."""
    began: list[Any] = []
    slices = CompiledSolve.slices
    monkeypatch.setattr(CompiledSolve, "slices", lambda self, steps=None: began.append(steps) or slices(self, steps))
    monkeypatch.setattr(CompiledSolve, "until", None)
    monkeypatch.setattr("runners.measure.job.LONG_S", 0.0)
    monkeypatch.setattr("runners.measure.job.UNSTOPPED_S", 0.0)
    monkeypatch.setattr("runners.measure.comparison.SHORT_S", 0.0)
    assert sample(tmp_path, solvers=["sequential", "jacobi"], repeats=repeats) == 0
    assert began == 2 * [*repeats * [None], 1]  # timed runs, and one that stops after every step
    assert [row["run_s"]["n"] for row in results(tmp_path)["rows"]] == [repeats, repeats]
    for file in ("traces.npz", "frames.npz"):
        expected = arrays(finished / "out" / file)
        for name, array in arrays(tmp_path / "out" / file).items():
            if not name.endswith("time_s"):
                np.testing.assert_array_equal(array, expected[name], err_msg=name)
    times = arrays(tmp_path / "out" / "traces.npz")["jacobi/time_s"]
    assert (np.diff(times) > 0).all()


@pytest.mark.slow
def test_a_solver_listed_twice_is_told_apart_by_its_options(tmp_path: Path) -> None:
    entries = [{"name": "gs_jacobi", "block_size": 6}, "jacobi", {"name": "gs_jacobi", "block_size": 12}]
    assert sample(tmp_path, solvers=entries) == 0
    labels = ["gs_jacobi(block_size=6)", "jacobi", "gs_jacobi(block_size=12)"]
    assert [row["label"] for row in results(tmp_path)["rows"]] == labels
    traces = arrays(tmp_path / "out" / "traces.npz")
    assert {name.rpartition("/")[0] for name in traces} == set(labels)


def test_random_weights_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = {"name": "made", "num_inputs": SIZE, "hidden_sizes": [16]}
    assert sample(tmp_path, checkpoint=None, model=model, solvers=["jacobi"], trace=False) == 0
    config = results(tmp_path)["config"]
    assert config["weights"] == {"weights": "random"}
    assert config["checkpoint"] is None
    assert "random weights" in capsys.readouterr().out


def test_console_has_a_line_a_solver_and_marks_the_fastest(
    finished: Path, record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(tmp_path, trace=False) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert all(any(line.split()[:2] in ([name, "converged"], ["*", name]) for line in lines) for name in NAMES)
    starred = [line.split()[1] for line in lines if line.strip().startswith("* ")]
    assert starred == [results(tmp_path)["fastest"]]
    assert captured.err.splitlines()[: len(NAMES)] == [f"{name} ..." for name in NAMES]


def test_mistakes_leave_old_results_whole(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample(tmp_path, solvers=["jacobi"], trace=False) == 0
    before = tree(tmp_path / "out")
    assert sample(tmp_path, solvers=["jacoby"]) == 2
    assert sample(tmp_path, noise_file="nowhere.npz") == 2
    assert sample(tmp_path, batch_size=10**13) == 1
    assert tree(tmp_path / "out") == before
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.safetensors", "tiny.yml", "out"}


def test_failure_while_writing_leaves_old_results_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sample(tmp_path, solvers=["jacobi"], trace=False) == 0
    before = tree(tmp_path / "out")

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    assert sample(tmp_path, solvers=["jacobi"], trace=False, seed=2) == 1
    assert tree(tmp_path / "out") == before
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.safetensors", "tiny.yml", "out"}


@contextmanager
def endless(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The program as users start it, with so many repeats that it solves until it is stopped."""
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    line = command(folder, solvers=["jacobi"], repeats=10**5, trace=False)
    arguments = [sys.executable, "-W", "error", str(ROOT / "main.py"), *line]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "jacobi ...\n"  # before that it loads and compiles a sweep
            time.sleep(2.0)  # in which it compiles the solver; what follows holds then, too
            assert process.poll() is None
            yield process
        finally:
            process.kill()


def old_results(folder: Path) -> dict[str, bytes | None]:
    """Results of another run in the place where this one's are to come."""
    (folder / "out" / "deep").mkdir(parents=True)
    (folder / "out" / "results.json").write_text(OLD_RESULTS)
    (folder / "out" / "deep" / "samples.bin").write_bytes(bytes(range(256)))
    return tree(folder / "out")


def test_interrupt_ends_the_run_and_leaves_old_results_whole(tmp_path: Path) -> None:
    before = old_results(tmp_path)
    with endless(tmp_path) as process:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "error: interrupted; nothing was written that was not complete\n"
    assert output == ""
    assert tree(tmp_path / "out") == before
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.safetensors", "tiny.yml", "out"}


@pytest.mark.slow  # its fast cousins kill the writing of results, in test_folder
def test_kill_leaves_old_results_whole(tmp_path: Path) -> None:
    before = old_results(tmp_path)
    with endless(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert tree(tmp_path / "out") == before
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.safetensors", "tiny.yml", "out"}


@dataclass(frozen=True)
class TwoSweeps(Solver):
    """Two Jacobi sweeps a step: a solver of somebody else's."""

    requires: ClassVar[type] = Jacobi.requires
    damping: float = 1.0
    tol: float = 0.0

    def step(self, system: Any, x: Any, state: None, frontier: Any) -> tuple[Any, None, StepInfo]:
        y, _, first = Jacobi(self.damping).step(system, x, None, frontier)
        z, _, second = Jacobi(self.damping).step(system, y, None, first.frontier)
        return z, None, second._replace(num_steps=2, sweeps=jnp.float32(2.0))


def test_a_solver_needs_its_own_file_and_a_line_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_the_table(monkeypatch, "two_sweeps", TwoSweeps)
    assert sample(tmp_path, solvers=["sequential", "jacobi", {"name": "two_sweeps", "damping": 1}]) == 0
    first, jacobi, mine = results(tmp_path)["rows"]
    assert mine["solver"] == mine["label"] == "two_sweeps"
    assert mine["options"] == {"damping": 1.0, "tol": 0.0, "max_steps": None}
    assert mine["max_abs_error"] == mine["mismatched_equations"] == first["max_abs_error"] == 0
    assert mine["num_steps"] == 2 * mine["num_iterations"]
    assert 0 <= mine["num_steps"] - jacobi["num_steps"] <= 1
    assert "two_sweeps/frames" in arrays(tmp_path / "out" / "frames.npz")
    capsys.readouterr()
    assert sample(tmp_path, solvers=[{"name": "two_sweeps", "dampng": 1}]) == 2
    assert "solver two_sweeps: unknown option 'dampng'; did you mean 'damping'?" in capsys.readouterr().err


def test_list_names_all_there_is_and_imports_nothing_heavy() -> None:
    heavy = ("jax", "solvers", "flax", "torch", "torchvision", "matplotlib", "mlxtend", "optax", "orbax")
    code = (
        "import sys; from runners.cli.main import main; code = main(['--list']); "
        f"print(sorted(set({heavy!r}) & set(sys.modules)), code)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *listing, imported = done.stdout.splitlines()
    assert imported == "[] 0"
    assert done.stderr == ""
    named = {line.split()[0] for line in listing if line.startswith("  ")}
    configs = {path.name for path in (ROOT / "configs").glob("*.yml")}
    checkpoints = json.loads((ROOT / "checkpoints" / "registry.json").read_text())
    assert configs
    assert checkpoints
    assert named >= {*RUNNERS, *configs, *checkpoints, *solvers.SOLVERS}


def test_main_is_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "main.py"), "--list"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "MADESamplerRunner" in done.stdout
    assert done.stderr == ""


def test_the_general_runner_needs_no_name_of_a_model(finished: Path, tmp_path: Path) -> None:
    line = command(tmp_path, solvers=["sequential"], trace=False)
    assert main(["--runner", "SamplerRunner", *line[2:]]) == 0
    np.testing.assert_array_equal(
        arrays(tmp_path / "out" / "samples.npz")["samples"], arrays(finished / "out" / "samples.npz")["samples"]
    )


def test_samples_that_are_rough_on_purpose_are_a_success_and_not_called_converged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stops = [{"max_steps": 2, "expected": True}, {"tol": 0.3}]
    rough = [{"name": "jacobi", "stop": stop} for stop in stops]
    assert sample(tmp_path, solvers=["cached_sequential", *rough], trace=False) == 0
    found = results(tmp_path)
    assert [row["status"] for row in found["rows"]] == ["converged", "stopped", "stopped"]
    assert found["fastest"] == "cached_sequential"
    labels = [row["label"] for row in found["rows"]]
    assert list(found["bits_per_dim"]) == labels
    assert found["bits_per_dim"][labels[0]] != found["bits_per_dim"][labels[1]]
    exact, stopped = arrays(tmp_path / "out" / "samples.npz")["samples"], arrays(tmp_path / "out" / "stopped.npz")
    assert list(stopped) == labels[1:]
    for row in found["rows"][1:]:
        wrong = int((np.abs(stopped[row["label"]] - exact) > 1e-3).sum())
        assert row["roughness"]["wrong_equations"] == wrong > 0
    assert (tmp_path / "out" / "stopped.png").stat().st_size > 1000
    printed = capfd.readouterr().out
    assert printed.count("stopped on purpose, before it had converged") == 2
    assert printed.count("bits/dim, by the model itself") == 3


def test_a_model_that_cannot_judge_rough_samples_costs_no_results(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, images: Any, key: Any) -> Any:
        raise RuntimeError("no likelihood")

    monkeypatch.setattr(MODELS["made"], "bits_per_dim", broken)
    rough = {"name": "jacobi", "stop": {"max_steps": 2}}
    assert sample(tmp_path, solvers=["cached_sequential", rough], trace=False) == 1
    assert [row["status"] for row in results(tmp_path)["rows"]] == ["converged", "stopped"]
    assert "error: the bits/dim of rough samples cannot be told: no likelihood" in capfd.readouterr().err
