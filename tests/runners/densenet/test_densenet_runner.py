"""DenseNet's layers solved for image by image, from the command line to the results."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runners.cli.main import main
from runners.densenet.config import DenseNetRunnerConfig, load_classifier
from tests.kit.results import read_results

SOLVERS = [
    {"name": "sequential", "trace": False},
    {"name": "segmented", "solver": "cached_sequential"},
    {"name": "jacobi"},
    {"name": "segmented", "solver": "jacobi"},
]
MODEL = {
    "name": "densenet",
    "growth_rate": 4,
    "block_layers": [2, 2],
    "num_init_features": 4,
    "num_classes": 10,
    "bn_size": 2,
    "image_shape": [28, 28, 1],
    "stem": "small",
    "pixel_mean": [0.13],
    "pixel_std": [0.3],
}
TINY: dict[str, Any] = {
    "model": MODEL,
    "num_images": 3,
    "batch_size": 2,  # the last one is filled up
    "solvers": SOLVERS,
    "early_exit": {"k": [2, 1]},
    "repeats": 1,
}
COLOUR = {"image_shape": [40, 48, 3], "pixel_mean": [0.5] * 3, "pixel_std": [0.3] * 3}
LAYERS = 4


def run(folder: Path, **changes: Any) -> int:
    (folder / "c.yml").write_text(yaml.safe_dump({**TINY, **changes}))
    return main(["--runner", "DenseNetRunner", "--config", str(folder / "c.yml"), "--out", str(folder / "out")])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, np.ndarray], Path, str]:
    """One run: its results, its arrays, its folder and what it printed."""
    folder = tmp_path_factory.mktemp("densenet")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run(folder) == 0
    with np.load(folder / "out" / "curves.npz") as file:
        arrays = dict(file)
    return read_results(folder / "out"), arrays, folder / "out", printed.getvalue()


def test_all_solvers_give_the_sequential_answer(done: Any) -> None:
    record, arrays, _, _ = done
    labels = ["sequential", "segmented(solver=cached_sequential)", "jacobi", "segmented(solver=jacobi)"]
    assert [row["label"] for row in record["rows"]] == labels
    assert record["system"]["num_equations"] == LAYERS
    assert record["rows"][0]["on_all_images"] is None
    for row in record["rows"][1:]:
        assert row["status"] == row["on_all_images"]["status"] == "converged"
        assert row["on_all_images"]["max_logit_error"] < 1e-4
        assert row["on_all_images"]["same_top5"] == 1.0
        assert row["speedup_vs_cached"] is not None  # the cached pass is the one inside segments
    assert record["error_reference"] == "sequential"
    assert arrays["exact_logits"].shape == (3, 10)


def test_a_solver_ends_within_the_number_of_layers_and_its_check(done: Any) -> None:
    record, arrays, _, _ = done
    for label, bound in (("jacobi", LAYERS), ("segmented(solver=jacobi)", LAYERS + 1)):  # its first block's check
        num_steps = record["by_sweep"][label]["num_steps"]
        assert num_steps == list(range(len(num_steps)))
        assert len(num_steps) <= 1 + bound + 1
        settled = next(row for row in record["rows"] if row["label"] == label)["on_all_images"]["settled"]
        assert settled["top5"]["max"] <= settled["top5_in_order"]["max"] <= settled["logits"]["max"] <= bound
        difference = arrays[f"{label}/difference"]
        assert np.isinf(difference[0]).all()
        assert (difference[-1] == 0).all()  # the check: nothing changed any more
        assert (arrays[f"{label}/error"][0] > 1e-3).all()


def test_curves_have_every_image_and_tell_measured_from_modelled_times(done: Any) -> None:
    record, arrays, _, _ = done
    path = record["critical_path"]
    assert "not a measurement" in path["kind"]
    assert len(path["layer_s"]) == LAYERS
    assert path["slowest_s"] == max(path["layer_s"])
    for label, curve in record["by_sweep"].items():
        steps = len(curve["num_steps"])
        for name in ("error", "difference", "top1", "top5", "top5_in_order"):
            assert arrays[f"{label}/{name}"].shape == (steps, 3)
        assert curve["top5"][-1] == 1.0
        assert curve["error"]["q1"][-1] <= curve["error"]["median"][-1] <= curve["error"]["q3"][-1]
        times = arrays[f"{label}/time_s"]
        assert (np.diff(times[np.isfinite(times)]) >= 0).all()
        assert times[1] > 0
    assert arrays["jacobi/modelled_s"][2] == pytest.approx(2 * path["slowest_s"])
    in_order = arrays["segmented(solver=cached_sequential)/modelled_s"]
    assert in_order[-1] == pytest.approx(path["sequential_s"])
    exits = record["early_exit"]["jacobi"]
    assert [exit["k"] for exit in exits] == [1, 2]
    assert exits[0]["mean_steps"] <= exits[1]["mean_steps"]


def test_results_say_what_weights_and_images_they_are_of(done: Any) -> None:
    record, _, folder, printed = done
    assert record["weights"] == "random; batch-norm statistics calibrated on 32 training images of mnist5k"
    assert record["images"] == {"source": "held-out images of mnist5k", "num_images": 3}
    assert 0.0 <= record["accuracy"] <= 1.0
    for name in ("convergence_by_step", "predictions_by_step", "by_time"):
        assert (folder / f"{name}.png").stat().st_size > 10_000
    assert "Measured: a sequential pass takes" in printed
    assert "Modelled, not measured" in printed
    assert "early exit" in printed


def test_random_weights_stand_in_for_published_ones_that_are_not_there() -> None:
    given = {**TINY, "model": {**MODEL, "block_layers": [1]}, "published": "densenet201"}
    classifier = load_classifier(DenseNetRunnerConfig.model_validate(given))
    assert classifier.origin == "random, as densenet201 is not downloaded"
    assert classifier.description.startswith(f"{classifier.origin}; batch-norm statistics calibrated on 32 training")
    assert classifier.checkpoint.info == {"weights": classifier.description}
    assert not classifier.checkpoint.trained
    assert classifier.checkpoint.model.config.block_layers == (1,)  # what the config says comes first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {**MODEL, "image_shape": [32, 32, 1]}}, "images of mnist5k are 28 x 28 x 1"),
        ({"model": {**MODEL, **COLOUR}}, "the network reads 40 x 48 x 3"),
        ({"data": {"name": "photographs"}}, "images of photographs have 3 channels; the network reads 28 x 28 x 1"),
        ({"data": {"name": "photograph"}}, "unknown dataset 'photograph'; did you mean 'photographs'?"),
        ({"model": {**MODEL, **COLOUR}, "data": {"name": "imagenet", "root": "none"}}, "'imagenet' is not in"),
        ({"model": {"name": "made", "num_inputs": 4}}, "model made is no classifier; valid: densenet"),
        ({"model": {**MODEL, "stem": "smal"}}, "unknown stem 'smal'; did you mean 'small'?"),
        ({"model": None}, "model, checkpoint or published is needed"),
        ({"checkpoint": "a.pth", "published": "densenet201"}, "checkpoint and published are given"),
        ({"published": "densenet20"}, "unknown published checkpoint 'densenet20'; did you mean 'densenet201'?"),
        ({"solvers": ["newton"]}, "newton needs a MarkovSystem"),
        ({"solvers": [{"name": "segmented", "solver": "newton"}]}, "newton needs a MarkovSystem"),
        ({"num_images": 1000}, "num_images 1000 is more than the 500 held-out images of mnist5k"),
        ({"early_exit": {"k": 0}}, "early_exit"),
        (
            {"solvers": ["sequential", {"name": "jacobi", "stop": {"max_steps": 2}}]},
            "jacobi: stop does not belong here; see early_exit",
        ),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    assert run(tmp_path, **changes) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mistake", "model", "message"),
    [
        (
            "depth",
            {"block_layers": [2, 3]},
            "the config says block_layers: [2, 3], the checkpoint block_layers: [2, 2]",
        ),
        ("missing", {}, "entry 'features.denseblock2.denselayer1.conv2.weight' is missing"),
        ("shape", {}, "entry 'features.norm5.weight' has shape (5,)"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: str, model: dict[str, Any], message: str
) -> None:
    torch = pytest.importorskip("torch")
    from torchvision.models import DenseNet

    state = DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=7).state_dict()
    if mistake == "missing":
        del state["features.denseblock2.denselayer1.conv2.weight"]
    if mistake == "shape":
        state["features.norm5.weight"] = torch.ones(5)
    torch.save(state, tmp_path / "densenet.pth")
    given = {"name": "densenet", "image_shape": [40, 48, 3], **model}
    assert run(tmp_path, model=given, checkpoint=str(tmp_path / "densenet.pth"), data={"name": "photographs"}) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_solver_that_does_not_converge_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solvers = [{"name": "jacobi", "max_steps": 1}]
    model = {**MODEL, "block_layers": [2]}
    assert run(tmp_path, model=model, solvers=solvers, num_images=1) == 1
    assert "jacobi: The step limit was reached" in capsys.readouterr().err
    assert read_results(tmp_path / "out")["rows"][0]["status"] == "max_steps_reached"
