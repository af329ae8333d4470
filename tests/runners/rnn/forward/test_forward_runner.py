"""The experiment on forward passes from the command line to its files, and what it says of chaotic cells."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

from runners.cli.main import main
from runners.rnn.forward.figures import cells_along, draw_growth, draw_lyapunov

TANH = {"cell": "elman", "activation": "tanh"}
CELLS: dict[str, Any] = {
    "gru": {"network": {"cell": "gru"}},
    "lstm": {  # one equation
        "network": {"cell": "lstm"},
        **{"sequence_lengths": [1], "sequence_length": 1, "state_sizes": [2]},
        "solvers": ["newton"],
    },
    "chaotic": {
        "network": {**TANH, "gain": 4.0},
        "input_scale": 0.1,
        **{"sequence_lengths": [90], "state_size": 24, "sequence_length": 90, "state_sizes": [24]},
        "solvers": ["newton"],
    },
}
CONFIG: dict[str, Any] = {
    "cells": CELLS,
    "batch_size": 2,
    "sequence_lengths": [8, 40],
    "state_size": 2,
    "state_sizes": [1, 2],
    "sequence_length": 8,
    "solvers": [
        "sequential",
        {"name": "newton", "max_steps": 12},
        "cached_sequential",
        {"name": "jacobi", "repeats": 2},
    ],
    "sequential_max_length": 20,
    "repeats": 1,
    "seed": 3,
}
PICTURES = {
    "time_by_length.png",
    "steps_by_length.png",
    "time_by_state_size.png",
    "memory_by_state_size.png",
    "lyapunov.png",
}


def forward(folder: Path, **changes: Any) -> int:
    """The exit code of a run whose files are all in ``folder``."""
    (folder / "tiny.yml").write_text(yaml.safe_dump({**CONFIG, **changes}, sort_keys=False))
    line = ["--runner", "ForwardRNNRunner", "--config", str(folder / "tiny.yml"), "--out", str(folder / "out")]
    return main(line)


def results(folder: Path) -> dict[str, Any]:
    """results.json; a NaN or an infinity in it would not be JSON."""
    record: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text(), parse_constant=pytest.fail)
    return record


def one_cell(network: dict[str, Any], length: int, size: int, **entry: Any) -> dict[str, Any]:
    """Changes to the config: one cell at one point."""
    points = {"sequence_lengths": [length], "state_size": size, "sequence_length": length, "state_sizes": [size]}
    return {"cells": {"cell": {"network": network, **points, **entry}}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all kinds of cells."""
    folder = tmp_path_factory.mktemp("finished")
    assert forward(folder) == 0
    return folder


@pytest.fixture
def experiments(finished: Path) -> dict[tuple[str, int, int], dict[str, Any]]:
    """The experiments of that run, by cell, length and state size."""
    return {(e["cell"], e["num_equations"], e["state_size"]): e for e in results(finished)["experiments"]}


def test_results_hold_every_point_once(experiments: dict[tuple[str, int, int], dict[str, Any]], finished: Path) -> None:
    assert list(experiments) == [
        *(("gru", 8, 2), ("gru", 40, 2), ("gru", 8, 1)),
        *(("lstm", 1, 2), ("chaotic", 90, 24)),
    ]
    assert {key[0]: e["features"] for key, e in experiments.items()} == {"gru": 1, "lstm": 4, "chaotic": 24}
    record = results(finished)
    assert (record["kind"], record["name"], record["runner"]) == ("forward_rnn", "tiny", "ForwardRNNRunner")
    assert record["seed"] == record["config"]["seed"] == 3
    assert record["device"]["platform"] == "cpu"
    assert record["config"]["cells"]["chaotic"]["network"] == {**TANH, "gain": 4.0}
    assert [entry["name"] for entry in record["config"]["solvers"]] == [
        *("sequential", "newton", "cached_sequential", "jacobi")
    ]


def test_rows_of_a_stable_cell_are_right(experiments: dict[tuple[str, int, int], dict[str, Any]]) -> None:
    experiment = experiments["gru", 8, 2]
    rows = {row["label"]: row for row in experiment["rows"]}
    assert list(rows) == ["sequential", "newton", "cached_sequential", "jacobi"]
    assert {row["status"] for row in rows.values()} == {"converged"}
    assert all(row["max_abs_error"] <= 1e-5 and row["mismatched_equations"] == 0 for row in rows.values())
    assert rows["sequential"]["num_steps"] == rows["cached_sequential"]["num_steps"] == 8
    assert 2 <= rows["newton"]["num_steps"] <= 8
    assert [row["run_s"]["n"] for row in rows.values()] == [1, 1, 1, 2]
    assert all(row["peak_memory_bytes"] > 0 and row["compile_s"] > 0 for row in rows.values())
    assert experiment["error_reference"] == "cached_sequential"
    assert experiment["fastest"] in rows
    assert rows["cached_sequential"]["speedup_vs_cached"] == 1


def test_one_equation_is_enough(experiments: dict[tuple[str, int, int], dict[str, Any]]) -> None:
    rows = experiments["lstm", 1, 2]["rows"]
    assert [(row["label"], row["status"]) for row in rows] == [
        ("newton", "converged"),
        ("cached_sequential", "converged"),
    ]
    assert rows[0]["max_abs_error"] <= 1e-6


def test_naive_evaluation_of_a_long_system_is_left_out_and_the_results_say_why(
    experiments: dict[tuple[str, int, int], dict[str, Any]],
) -> None:
    assert experiments["gru", 8, 2]["skipped"] == []
    (left_out,) = experiments["gru", 40, 2]["skipped"]
    assert left_out["solver"] == left_out["label"] == "sequential"
    assert "left out above T = 20" in left_out["reason"]
    assert "sequential" not in [row["label"] for row in experiments["gru", 40, 2]["rows"]]


def test_exponents_tell_stable_from_chaotic(experiments: dict[tuple[str, int, int], dict[str, Any]]) -> None:
    for (cell, *_), experiment in experiments.items():
        assert experiment["pays"] == (cell != "chaotic")
        assert (experiment["lyapunov"] < 0) == experiment["pays"]
        assert experiment["lyapunov"] == max(experiment["lyapunov_by_sample"])
        assert len(experiment["lyapunov_by_sample"]) == 2


def test_a_chaotic_cell_does_not_hang_and_its_rows_say_what_happened(
    experiments: dict[tuple[str, int, int], dict[str, Any]],
) -> None:
    experiment = experiments["chaotic", 90, 24]
    rows = {row["label"]: row for row in experiment["rows"]}
    assert list(rows) == ["newton", "cached_sequential"]  # the baseline, asked for or not
    assert rows["newton"]["status"] in ("max_steps_reached", "diverged")
    assert rows["newton"]["num_iterations"] <= 12
    assert rows["cached_sequential"]["status"] == "converged"
    assert experiment["fastest"] == "cached_sequential"
    assert re.fullmatch(
        r"chaotic: largest Lyapunov exponent \+\d\.\d\d per step; parallel solving does not pay, use cached_sequential",
        experiment["advice"],
    )


def test_traces_go_to_the_solution(experiments: dict[tuple[str, int, int], dict[str, Any]], finished: Path) -> None:
    with np.load(finished / "out" / "traces.npz") as file:
        traces = {name: file[name] for name in file.files}
    for (cell, length, size), experiment in experiments.items():
        for row in experiment["rows"]:
            key = f"{cell}/T{length}/H{size}/{row['label']}"
            names = ("num_steps", "time_s", "residual", "frontier")
            trace = {name: traces.pop(f"{key}/{name}") for name in names}
            assert {array.shape for array in trace.values()} == {(row["num_iterations"],)}
            assert trace["num_steps"][-1] == row["num_steps"]
            assert (np.diff(trace["time_s"]) > 0).all()
            assert (np.diff(trace["frontier"]) >= 0).all()
            if row["status"] == "converged":
                assert trace["residual"][-1] <= 1e-5
    assert not traces


def test_pictures_are_there_and_nothing_else(finished: Path) -> None:
    assert {path.name for path in (finished / "out").iterdir()} == PICTURES | {"results.json", "traces.npz"}
    for name in PICTURES:
        with Image.open(finished / "out" / name) as image:
            image.load()
            assert min(image.size) > 300


def test_console_has_a_table_and_a_verdict_an_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = {**TANH, "gain": 0.5, "recurrent": "orthogonal"}
    solvers = ["cached_sequential", {"name": "jacobi", "max_steps": 2}, "sequential"]
    assert forward(tmp_path, solvers=solvers, **one_cell(network, 30, 2), trace=False) == 0
    captured = capsys.readouterr()
    assert "cell, T = 30, state size 2, batch 2" in captured.out
    assert re.search(r"\n *\* cached_sequential +converged +30 ", captured.out)
    assert "stable: largest Lyapunov exponent -" in captured.out
    assert "sequential was left out: naive sequential evaluation computes all T equations T times" in " ".join(
        captured.out.split()
    )
    warning = (
        "warning: cell, T = 30, state size 2: jacobi: The step limit was reached before the solver converged; "
        "raise max_steps."
    )
    assert warning in " ".join(captured.err.split())
    assert not (tmp_path / "out" / "traces.npz").exists()


def test_what_would_not_fit_is_left_out(tmp_path: Path) -> None:
    solvers = ["cached_sequential", "newton", "quasi_newton"]
    changes = one_cell({"cell": "gru"}, 50, 12)
    assert forward(tmp_path, solvers=solvers, memory_limit_mib=0.2, trace=False, **changes) == 0
    (experiment,) = results(tmp_path)["experiments"]
    assert [row["label"] for row in experiment["rows"]] == ["cached_sequential", "quasi_newton"]
    (left_out,) = experiment["skipped"]
    assert left_out["label"] == "newton"
    assert re.fullmatch(r"it may hold up to [\d.]+ [KM]iB, more than memory_limit_mib, 0.2", left_out["reason"])


def test_a_time_limit_ends_a_run(tmp_path: Path) -> None:
    solvers = [{"name": "cached_sequential", "chunk_size": 60}, "newton"]
    changes = one_cell({**TANH, "gain": 4.0}, 60, 24, input_scale=0.1)
    assert forward(tmp_path, solvers=solvers, time_limit_s=1e-9, repeats=3, **changes) == 0
    baseline, newton = results(tmp_path)["experiments"][0]["rows"]
    assert baseline["status"] == "converged"  # in its first step
    assert newton["status"] == "time_limit_reached"
    assert newton["num_iterations"] == newton["run_s"]["n"] == 1


LINEAR = {"cell": "elman", "activation": "linear", "gain": 1.5, "recurrent": "orthogonal"}
TWO = ["cached_sequential", "newton"]


def test_an_expansive_cell_is_solved_while_it_is_finite(tmp_path: Path) -> None:
    assert forward(tmp_path, solvers=TWO, trace=False, **one_cell(LINEAR, 20, 3)) == 0
    (experiment,) = results(tmp_path)["experiments"]
    assert experiment["lyapunov"] == pytest.approx(math.log(1.5), abs=1e-3)
    assert not experiment["pays"]
    assert [row["status"] for row in experiment["rows"]] == ["converged", "converged"]


def test_a_solution_that_is_not_finite_fails_the_run_and_the_results_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forward(tmp_path, solvers=TWO, trace=False, **one_cell(LINEAR, 300, 3)) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: cell, T = 300, state size 3: cached_sequential: The exact solution itself holds a non-finite value "
        "(NaN or infinity); check weights and noise."
    )
    (experiment,) = results(tmp_path)["experiments"]
    assert {row["status"] for row in experiment["rows"]} == {"nonfinite"}
    assert experiment["fastest"] is None
    assert not experiment["pays"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sequence_lengths": [0]}, "tiny.yml: sequence_lengths.0 should be at least 1, not 0"),
        ({"state_sizes": [4, 0]}, "tiny.yml: state_sizes.1 should be at least 1, not 0"),
        ({"state_size": 0}, "tiny.yml: state_size should be at least 1, not 0"),
        ({"num_inputs": 0}, "tiny.yml: num_inputs should be at least 1, not 0"),
        ({"sequence_lengths": []}, "tiny.yml: sequence_lengths is empty; expected one or more numbers"),
        ({"state_sizes": []}, "tiny.yml: state_sizes is empty; expected one or more numbers"),
        (
            {"cells": {"gru": {"network": {"cell": "gru"}, "state_sizes": []}}},
            "tiny.yml: cells.gru.state_sizes is empty; expected one or more numbers",
        ),
        (
            {"cells": {}},
            "tiny.yml: cells: expected one or more cells by name, for example {gru: {network: {cell: gru}}}",
        ),
        (
            {"solvers": []},
            "tiny.yml: solvers: expected a list of one or more solvers, for example [{name: jacobi}]",
        ),
        (
            {"solvers": ["newton"]},
            "tiny.yml: solvers: cached_sequential must be among them, without a stop: errors and times are held "
            "against it",
        ),
        (
            {"cells": {"a": {"network": {"cell": "gur"}}}},
            re.compile("cells.a.network: unknown cell 'gur'; did you mean 'gru'. valid: gru, .*elman, .*"),
        ),
        (
            {"cells": {"a": {"network": {"cell": "elman", "activation": "tan"}}}},
            "cells.a.network: unknown activation 'tan'; did you mean 'tanh'? valid: tanh, linear, softplus",
        ),
        ({"cells": {"a": {"network": {}}}}, "cells.a.network: cell is missing"),
        (
            {"cells": {"a": {"network": {"cell": "gru", "hidden_size": 4}}}},
            "tiny.yml: cells.a.network: hidden_size does not belong here; see state_size",
        ),
        (
            {"cells": {"a": {"network": {"cell": "gru"}, "solvers": ["newtn"]}}},
            "tiny.yml: cells.a.solvers: unknown solver 'newtn'; did you mean 'newton'? "
            "valid: newton, sequential, cached_sequential, jacobi",
        ),
        (
            {"cells": {"a": {"netwrk": {"cell": "gru"}}}},
            re.compile("tiny.yml: unknown config key in cells.a 'netwrk'; did you mean 'network'. valid: network, .*"),
        ),
        ({"memory_limit_mib": 0}, "tiny.yml: memory_limit_mib should be more than 0, not 0"),
        (
            {"solvers": ["cached_sequential", "parallel_scan"], "cells": {"a": {"network": {"cell": "gru"}}}},
            re.compile(
                "solver parallel_scan: parallel_scan needs a.* AffineMarkovSystem; ForwardRNN is .*use .*newton.*"
            ),
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else re.sub(r"\W+", "_", str(value))[9:60],
)
def test_mistake_is_one_sentence(
    changes: dict[str, Any], sentence: str | re.Pattern[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forward(tmp_path, **changes) == 2
    said = capsys.readouterr().err.removeprefix("error: ").rstrip("\n")
    if isinstance(sentence, str):
        assert said == sentence
    else:
        assert sentence.fullmatch(said), said
    assert not (tmp_path / "out").exists()


def experiment(cell: str, length: int, size: int, lyapunov: Any = -0.5, **statuses: str) -> dict[str, Any]:
    """As in results.json, as far as pictures need it; T / 10 steps of each solver."""
    rows = [
        {
            "label": label,
            "solver": label,
            "status": status,
            "num_steps": length // 10,
            "num_iterations": length // 10,
            "run_s": {"median": 1e-3 * length},
            "peak_memory_bytes": None if label == "jacobi" else 100 * size,
        }
        for label, status in statuses.items()
    ]
    return {"cell": cell, "num_equations": length, "state_size": size, "lyapunov": lyapunov, "rows": rows}


GROWTH = [
    experiment("a", 100, 4, newton="converged", jacobi="converged"),
    experiment("a", 1000, 4, newton="converged", jacobi="max_steps_reached"),
    experiment("a", 100, 8, newton="converged"),
    experiment("a", 10, 4, newton="converged"),
    experiment("b", 100, 4, 0.3, newton="diverged"),
]


def test_panels_hold_what_differs_in_one_respect() -> None:
    along = cells_along(GROWTH, "num_equations")
    assert {cell: [e["num_equations"] for e in chosen] for cell, chosen in along.items()} == {"a": [10, 100, 1000]}
    across = cells_along(GROWTH, "state_size")
    assert {cell: [e["state_size"] for e in chosen] for cell, chosen in across.items()} == {"a": [4, 8]}
    assert set(cells_along([GROWTH[0], GROWTH[4]], "state_size")) == {"a", "b"}  # no others


def test_growth_joins_what_converged_and_leaves_the_rest_hollow() -> None:
    axes = Figure().subplots()
    draw_growth(axes, [GROWTH[3], *GROWTH[:2]], "num_equations", "steps")
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert np.array_equal(lines["newton"].get_xydata(), [[10, 1], [100, 10], [1000, 100]])
    assert np.array_equal(lines["jacobi"].get_xydata(), [[100, 10]])
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert [line.get_xydata().tolist() for line in hollow] == [[[1000.0, 100.0]]]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.xaxis.get_major_formatter()(1000) == "1,000"


def test_growth_leaves_out_what_is_not_known() -> None:
    axes = Figure().subplots()
    draw_growth(axes, GROWTH[:1], "state_size", "memory")
    assert axes.get_legend_handles_labels()[1] == ["newton"]
    assert axes.yaxis.get_major_formatter()(4096) == "4.0 KiB"


def test_lyapunov_shows_a_point_an_experiment() -> None:
    axes = Figure().subplots()
    draw_lyapunov(axes, [*GROWTH, experiment("c", 100, 4, "nan", newton="converged"), experiment("d", 100, 4)])
    points = [
        point for line in axes.get_lines() if line.get_linestyle() == "None" for point in line.get_xydata().tolist()
    ]
    assert sorted(points) == [[-0.5, 0.1]] * 4 + [[0.3, 0.1]]
    told = axes.get_legend_handles_labels()[1]
    assert told == ["T = 10", "T = 100", "T = 1,000", "hollow: did not converge"]
    draw_lyapunov(Figure().subplots(), [])
