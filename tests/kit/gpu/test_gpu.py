"""The smoke list where there is no GPU: its sentence, the list on the processor, and what it takes for a failure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.paths import ROOT
from runners import RUNNERS
from solvers import FunctionSystem, Jacobi, from_function, pytree
from tests.kit.gpu import __main__ as smoke
from tests.kit.gpu import runs
from tests.kit.gpu.__main__ import NO_GPU, main
from tests.kit.gpu.answers import MOST_DIFFERING, Answers, differing, disagreements
from tests.kit.gpu.bits import ROUNDING, SYSTEMS, broken, error_of_products
from tests.kit.gpu.runs import Run
from tests.kit.smallest import CASES

ROW = {
    **{"solver": "jacobi", "label": "jacobi", "options": {"tol": 0.0}, "status": "converged"},
    **{"num_steps": 20, "mismatched_equations": 0, "max_residual": 0.0},
}
VALUES = np.linspace(-2, 2, 10, dtype=np.float32)


@pytest.fixture
def no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests keep JAX on the processor, on a machine that has a GPU too."""
    monkeypatch.setattr(runs, "DEVICE_FILES", tmp_path / "nothing")


@pytest.mark.usefixtures("no_driver")
def test_without_a_gpu_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == f"{NO_GPU}\n"


def ended(code: int, platform: str = "cpu", said: str = "") -> CompletedProcess[str]:
    """A process that has described its devices, or failed."""
    return CompletedProcess([], code, json.dumps({"device": {"platform": platform}}) if code == 0 else "", said)


@pytest.mark.usefixtures("no_driver")
@pytest.mark.parametrize(
    ("done", "sentence"),
    [
        (ended(1, said="Traceback:\nImportError: no jaxlib\n"), "JAX does not start: ImportError: no jaxlib"),
        (ended(-11), "JAX does not start: it said nothing"),
        (ended(0, "tpu"), "JAX computes on a tpu, and not on a gpu"),
    ],
)
def test_an_install_that_is_broken_is_a_failure(
    done: CompletedProcess[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "python", lambda *_, **__: done)
    assert main([]) == 1
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_an_install_that_hangs_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "LIMIT_S", 1e-3)
    assert main([]) == 1
    assert capsys.readouterr().err == "error: JAX has not told its devices after 0.001 s\n"


def test_a_gpu_that_jax_leaves_alone_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = tmp_path / "nvidia0"
    gpu.touch()
    monkeypatch.setattr(runs, "DEVICE_FILES", tmp_path)
    monkeypatch.setattr(runs, "python", lambda *_, **__: ended(0))
    assert main([]) == 1
    assert capsys.readouterr().err.startswith(f"error: JAX finds no GPU, but there is {gpu}, as where ")
    assert runs.describe("cpu") == {"device": {"platform": "cpu"}}


def test_the_files_of_a_driver_without_a_gpu_are_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvidiactl", "nvidia-uvm"):  # which containers have on machines with the driver, without a GPU too
        (tmp_path / name).touch()
    monkeypatch.setattr(runs, "DEVICE_FILES", tmp_path)
    monkeypatch.setattr(runs, "python", lambda *_, **__: ended(0))
    assert runs.describe("gpu") is None


def test_the_list_runs_on_a_processor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "smoke.json"
    assert main(["survey", "--device", "cpu", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "survey" in said
    assert "All of it holds." in said
    record = json.loads(out.read_text())
    (run,) = record["runs"]
    assert (run["runner"], run["mismatched_equations"], run["failures"]) == ("SurveyRunner", 0, [])
    assert run["num_steps"]["device"] == run["num_steps"]["cpu"] > 0
    assert record["matmul_precision"] == "float32"


def test_broken_promises_of_bits_are_failures_of_the_whole_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(smoke, "describe", lambda _: {"device": {"kind": "some device"}})
    monkeypatch.setattr(smoke, "run_case", lambda _, device, folder: Run(1, 2.0, f"no {device}", folder))
    monkeypatch.setattr(smoke, "CASES", {"survey": CASES["survey"]})
    monkeypatch.setattr(smoke, "_bits", lambda _: {"broken": {"gru": ["two solves have other bits"]}})
    assert main(["--device", "cpu", "--out", str(tmp_path / "smoke.json")]) == 1
    said = capsys.readouterr().out
    failures = [f"survey: exit code 1 on the {which}: no cpu" for which in ("device", "processor")]
    failures.append("bits, gru: two solves have other bits")
    assert said.endswith("\n".join(failures) + "\n")
    record = json.loads((tmp_path / "smoke.json").read_text())
    assert record["failures"] == failures
    assert record["bits"] == {"broken": {"gru": ["two solves have other bits"]}}


def test_what_was_found_is_there_before_the_benchmark_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "smoke.json"

    def stopped(*_: Any, **__: Any) -> None:
        record = json.loads(out.read_text())
        assert record["benchmark_exit_code"] is None
        assert len(record["failures"]) == 3
        assert record["failures"][-1] in capsys.readouterr().out
        raise KeyboardInterrupt

    monkeypatch.setattr(smoke, "describe", lambda _: {"device": {"kind": "some GPU"}})
    monkeypatch.setattr(smoke, "run_case", lambda _, device, folder: Run(1, 2.0, f"no {device}", folder))
    monkeypatch.setattr(smoke, "CASES", {"survey": CASES["survey"]})
    monkeypatch.setattr(smoke, "python", lambda *_, **__: CompletedProcess([], 0, "", ""))
    monkeypatch.setattr(smoke.subprocess, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        main(["--out", str(out)])
    assert "bits, all: it printed no record" in json.loads(out.read_text())["failures"][-1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["srvey"], "error: unknown case 'srvey'; did you mean 'survey'? valid: "),
        (["--device", "cpi"], "error: unknown device 'cpi'; did you mean 'cpu'? valid: cpu, gpu\n"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(sentence)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "affine" else pytest.mark.slow) for name in SYSTEMS]
)
def test_bits_are_as_promised(name: str) -> None:
    make, solver = SYSTEMS[name]
    assert list(broken(make(), solver)) == []


def test_equal_bits_are_no_failure() -> None:
    system = from_function(lambda x: jnp.cos(jnp.pad(x, ((1, 0), (0, 0)))[:-1]), jnp.zeros((5, 1)), check=False)
    assert list(broken(system, Jacobi())) == []


def test_products_are_as_promised() -> None:
    assert error_of_products() <= ROUNDING


NUMBERS = count()


@pytree
@dataclass(frozen=True)
class Fickle(FunctionSystem[jax.Array]):
    """The first equation keeps its guess, which is another in each solve; the others are others in each program."""

    def initial_guess(self) -> jax.Array:
        return self.like + next(NUMBERS)

    def sweep(self, x: jax.Array) -> jax.Array:
        return jnp.full_like(x, next(NUMBERS)).at[0].set(x[0])


def test_other_bits_are_seen() -> None:
    assert list(broken(Fickle(lambda x: x, jnp.zeros((3, 1)), ()), Jacobi())) == [
        "two solves by Jacobi have other bits",
        "Jacobi's answer has other bits than Sequential's",
        "Jacobi's answer has other bits than that with a trace",
        "Jacobi's answer has other bits than a sweep of it in a program of its own",
    ]


def answers(values: Any = VALUES, metric: Any = 2.0, **changes: Any) -> Answers:
    record = {"systems": [{"rows": [{**ROW, **changes}]}], **({} if metric is None else {"bits_per_dim": metric})}
    return Answers(record, {} if values is None else {"solution.npz/x": values})


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (answers(status="diverged"), "jacobi ended as diverged"),
        (answers(max_residual=1e-7), "jacobi: a sweep of its answer is off by 1.0e-07, and not by 0"),
        (answers(max_residual=float("nan")), "jacobi: a sweep of its answer is off by nan, and not by 0"),
        (answers(mismatched_equations=3), "3 equations are not those of the reference sweep"),
        (answers(values=VALUES + 0.01), "100.00% of an array differs from the processor's"),
        (answers(values=VALUES * np.nan), "100.00% of an array differs from the processor's"),
        (answers(values=VALUES[:9]), "100.00% of an array differs from the processor's"),
        (answers(values=None), "it has not left solution.npz/x"),
        (answers(num_steps=25), "jacobi takes 25 steps, and not about 20"),
        (answers(metric={"mean": 2.1}), "bits_per_dim is 2.1, and not about 2"),
        (answers(metric=float("nan")), "bits_per_dim is nan, and not about 2"),
        (answers(metric=None), "it has not told bits_per_dim"),
    ],
)
def test_failures_are_seen(found: Answers, sentence: str) -> None:
    assert [*found.broken_promises(), *disagreements(found, answers())] == [sentence]


@pytest.mark.parametrize(
    ("case", "samples", "pixels", "share"),
    [
        ("made", 1, 400, None),
        ("made", 2, 784, None),
        ("made", 3, 784, "18.75%"),
        ("flow", 1, 1, "0.01%"),
        ("densenet", 1, 400, "3.19%"),
    ],
)
def test_numbers_differ_only_where_they_are_chosen(case: str, samples: int, pixels: int, share: str | None) -> None:
    """Of sixteen samples a few are another behind some pixel; numbers that are only reckoned are all the same."""
    wanted = np.zeros((16, 784), np.float32)
    found = wanted.copy()
    found[:samples, -pixels:] = 1
    said = list(disagreements(answers(values=found), answers(values=wanted), MOST_DIFFERING.get(case, 0.0)))
    assert said == ([] if share is None else [f"{share} of an array differs from the processor's"])


def test_shares_are_of_cases() -> None:
    assert MOST_DIFFERING.keys() <= CASES.keys()


def test_runs_of_one_case_share_no_state() -> None:
    """The GPU's and the processor's go on at once, and no two may train in one folder."""
    training = {case for case, (runner, _) in CASES.items() if "state_dir" in RUNNERS[runner].Config.model_fields}
    assert training == {"train", *(f"train_{kind}" for kind in ("classifier", "diffusion", "language", "wavenet"))}
    assert {case for case in training if not CASES[case][1].get("state_dir", "").startswith("FOLDER")} == set()


def test_a_path_is_told_as_the_repository_has_it() -> None:
    said = f"a traceback\nerror: state_dir {ROOT}/runs/train is in use\n"
    assert runs.last_line(ended(2, said=said)) == "error: state_dir runs/train is in use"


def test_rounding_is_no_failure() -> None:
    found = answers(values=VALUES + 1e-4, metric=2.01, num_steps=24)
    assert [*found.broken_promises(), *disagreements(found, answers())] == []
    assert differing(found, answers()) == 0
    rough = answers(options={"tol": 0.1}, mismatched_equations=5, max_residual=0.05)
    assert list(rough.broken_promises()) == []
