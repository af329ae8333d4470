"""Which systems the benchmark of accelerators counts, and what it keeps of earlier runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from benchmarks import accelerator
from benchmarks.gpu import cases, shipped
from benchmarks.gpu.rows import gflop, kernels, modelled_solve_s
from benchmarks.gpu_programs import GPUS, KERNEL_S, ROUND_TRIP_S
from benchmarks.limits import Limit
from common.paths import REFERENCE
from docs.tools import accelerators
from runners import RUNNERS
from solvers import Jacobi, from_function
from tests.kit.bank import tiny_made

WITHOUT_SOLVERS = {"StreamRunner", "WaveNetTimingRunner", "TrainRunner", "TrainClassifierRunner"}
WITHOUT_SOLVERS |= {"TrainWaveNetRunner", "TrainDiffusionRunner", "TrainLanguageRunner"}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(accelerator, "PATH", tmp_path / "accelerator.json")
    return tmp_path / "accelerator.json"


def test_every_shipped_config_whose_runner_compares_solvers_is_counted():
    runners = {path.parent.name: json.loads(path.read_text())["runner"] for path in REFERENCE.glob("*/results.json")}
    comparing = {name for name, runner in runners.items() if runner not in WITHOUT_SOLVERS}
    covered = {name for case in cases.CASES.values() for name in case.configs}
    assert covered | set(cases.names()) - cases.CASES.keys() == comparing
    assert set(runners.values()) <= set(RUNNERS)


@pytest.mark.parametrize("name", ["made", "ode_lorenz63", "residual_network"])
def test_solvers_have_the_labels_of_results(name):
    (found,) = cases.compared(name)
    configs = cases.CASES[name].configs if name in cases.CASES else (name,)
    rows = [row for config in configs for row in json.loads((REFERENCE / config / "results.json").read_text())["rows"]]
    assert set(found.solvers) == {row["label"] for row in rows}
    assert found.system.num_equations > 0


def test_published_times_are_of_solvers_that_are_counted():
    for case in cases.CASES.values():
        assert case.published_s.keys() <= case.solvers.keys()


def test_cells_are_counted_at_their_longest():
    parts = {each.part: each.system.num_equations for each in shipped.compared("forward_rnn")}
    assert parts["gru"] == 100_000
    assert parts["gain 1"] == 500


def test_a_part_of_the_table_leaves_the_others_as_they_are_known(path):
    old = {"a, jacobi": {"system": "a"}, "a, elk": {"system": "a"}, "b, jacobi": {"system": "b"}}
    accelerator.save_counted("H100", old, [Limit("of a", 1, 2), Limit("of b", 3, 2)])
    accelerator.save_counted("H100", {"a, newton": {"system": "a"}}, [Limit("of a", 4, 2)])
    record = json.loads(path.read_text())["H100"]
    assert record["rows"].keys() == {"b, jacobi", "a, newton"}
    assert record["limits"]["of a"] == {"count": 4, "limit": 2, "met": False}
    assert record["limits"]["of b"]["count"] == 3


def test_what_is_not_counted_yet_is_told():
    missing = cases.not_counted([{"system": "made"}, {"system": "forward_rnn (gru)"}])
    assert set(missing) == set(cases.names()) - {"made", "forward_rnn"}


def test_operations_that_are_counted_anew_change_the_rows_of_every_gpu(path):
    row = {"system": "made", "flops": 1.0, "flops_whole": True, "program_bytes": 0, "kernels": 2, "round_trips": 1}
    for gpu in GPUS:
        accelerator.save_counted(gpu, {"made, jacobi": row, "made, elk": row}, [])
    accelerator.save_operations("made, jacobi", {"flops": 67e12, "flops_whole": False})
    accelerator.save_operations("made, newton", {"flops": 67e12, "flops_whole": False})
    assert accelerator.names_with_rows() == ["made"]
    record = json.loads(path.read_text())
    for gpu, sheet in GPUS.items():
        rows = record[gpu]["rows"]
        assert rows["made, elk"] == row
        assert (rows["made, jacobi"]["flops"], rows["made, jacobi"]["flops_whole"]) == (67e12, False)
        launches = 2 * KERNEL_S + ROUND_TRIP_S
        assert rows["made, jacobi"]["modelled_step_s"] == pytest.approx(67e12 / sheet.float32_flops_s + launches)
        assert rows["made, jacobi"].keys() > {"operations_git_commit"}
        assert "made, newton" not in rows


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"kernels_least": 5, "kernels": 5, "flops": 2e6, "flops_whole": True}, ("5", "0.002")),
        ({"kernels_least": 5, "kernels": 1234, "flops": 39e9, "flops_whole": False}, ("5 - 1,234", "≥ 39")),
    ],
)
def test_ranges_and_lower_bounds_are_shown_as_such(row, shown):
    assert (kernels(row), gflop(row)) == shown


def test_a_solve_is_modelled_where_results_say_its_steps():
    row = {"config": "made_sampler", "solver": "sequential", "modelled_step_s": 2.0}
    assert modelled_solve_s(row) == 784 * 2.0
    assert modelled_solve_s({**row, "solver": "newton"}) is None
    assert modelled_solve_s({**row, "config": None}) is None


def test_trained_weights_can_be_measured_beside_the_random_ones_of_cases():
    names = cases.names_to_measure()
    assert {"made", "made_sampler", "ode_lorenz63"} <= set(names)
    assert set(cases.names()) < set(names)
    assert len(names) == len(set(names))
    assert [cases.case_of(name) for name in ("made_sampler", "made", "ode_lorenz63")] == [
        "made",
        "made",
        "ode_lorenz63",
    ]


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["accelerator", *arguments])
    return accelerator.main()


def test_what_a_case_stands_for_is_not_counted_twice(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_main(monkeypatch, "made_sampler")
    assert "made_sampler is counted as the case 'made'; --measure takes it by itself" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_main(monkeypatch, "--measure", "made_sample")
    assert "did you mean 'made_sampler'?" in capsys.readouterr().err


@pytest.mark.parametrize(("mismatched", "code"), [(0, 0), (3, 1)])
def test_a_solve_that_ends_badly_is_a_failure_of_the_measurement(mismatched, code, path, monkeypatch, capsys):
    row = {"system": "made_sampler", "solver": "jacobi", "solve_s": 1.0, "step_s": 0.1, "iterations": 10}
    row |= {"status": "converged", "mismatched_equations": mismatched}
    monkeypatch.setattr(accelerator, "on_cpu", lambda: False)
    monkeypatch.setattr(accelerator, "measure", lambda name: iter([("made_sampler, jacobi", row)]))
    assert run_main(monkeypatch, "--measure", "made_sampler") == code
    said = capsys.readouterr()
    assert ("made_sampler, jacobi: converged, 3 equations mismatched" in said.err) == bool(code)
    assert "converged" in said.out
    (saved,) = json.loads(path.read_text())["measured"].values()
    assert saved["rows"].keys() == {"made_sampler, jacobi"}


def overflowing():
    """x_t = exp(100 x_{t-1}), which is no number that float32 has from the second equation on."""
    like = jnp.zeros((6, 1))
    return from_function(lambda x: jnp.exp(100 * jnp.pad(x + 1, ((1, 0), (0, 0)))[:-1]), like, check=False)


@pytest.mark.parametrize(
    ("make", "status", "is_right"),
    [(lambda: tiny_made(16, 4, 0), "converged", True), (overflowing, "nonfinite", False)],
)
def test_a_measured_row_tells_how_its_solve_ended(make, status, is_right, monkeypatch):
    found = shipped.Compared("", make(), {"jacobi": Jacobi()})
    monkeypatch.setattr(accelerator, "compared", lambda name: iter([found]))
    ((title, row),) = accelerator.measure("made")
    assert title == "made, jacobi"
    assert row["status"] == status
    assert (row["mismatched_equations"] == 0) == is_right
    assert row["step_s"] * row["iterations"] == pytest.approx(row["solve_s"])
    assert row["solve_quartiles_s"][0] <= row["solve_s"] <= row["solve_quartiles_s"][1]
    assert row["solvers"] == 1


def test_measured_rows_are_a_part_until_all_of_the_cases_are_there(path, monkeypatch):
    monkeypatch.setattr(accelerator, "CASES", {"gru": cases.CASES["gru"]})
    labels = list(cases.CASES["gru"].solvers)
    for count, label in enumerate(labels, 1):
        accelerator.save_measured("some GPU", {f"gru, {label}": {"solve_s": 1.0}})
        here = json.loads(path.read_text())["measured"]["some GPU"]
        assert len(here["rows"]) == count
        assert here["is_part"] == (count < len(labels))


def measured_row(system, solver, seconds, **more):
    row = {
        "system": system,
        "solver": solver,
        "solvers": 3,
        "solve_s": seconds,
        "iterations": 10,
        "step_s": seconds / 10,
    }
    return {f"{system}, {solver}": {**row, "status": "converged", "mismatched_equations": 0, **more}}


def test_the_table_of_a_gpu_has_no_solve_that_ended_badly(monkeypatch):
    rows = measured_row("forward_rnn (gru)", "cached_sequential", 1.0) | measured_row(
        "forward_rnn (gru)", "newton", 0.1
    )
    rows |= measured_row("forward_rnn (gru)", "jacobi", 0.01, status="nonfinite")
    rows |= measured_row("maf_sampler", "cached_sequential", 1.0) | measured_row(
        "maf_sampler", "jacobi", 0.1
    )  # of three
    record = {"measured": {"some GPU": {"rows": rows}}, **{gpu: accelerators.record()[gpu] for gpu in GPUS}}
    monkeypatch.setattr(accelerators, "record", lambda: record)
    monkeypatch.setattr(accelerators, "converged", lambda name: [])
    whole, every = accelerators.on_gpu(), accelerators.timed()
    assert "`newton` (of 1) | 10 | 100 ms | 1 s | 10x" in whole
    assert "maf_sampler" not in whole
    assert "maf_sampler" in every
    assert "| `jacobi` | 10 ms" not in every
    assert "Not timed so far: `made`" in every


@pytest.mark.parametrize(("other", "shown"), [(0.2637, "0.26x"), (5.17, "5.2x"), (16.66, "17x"), (180.6, "181x")])
def test_speed_ups_have_two_digits(other, shown):
    assert accelerators._ratio(other, 1.0) == shown
