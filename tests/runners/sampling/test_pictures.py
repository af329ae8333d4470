"""Sampling images that are the answer of other equations: of a diffusion's steps, of a flow's blocks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from runners.cli.main import main
from runners.sampling.subject import read_as_told

TRUNK = {"width": 8, "num_layers": 1, "num_heads": 2}
DIFFUSION = {"name": "diffusion", "image_shape": [8, 8, 1], **TRUNK}
FLOW = {"name": "flow", "image_shape": [8, 8, 1], "num_blocks": 3, **TRUNK}
MADE = {"name": "made", "num_inputs": 9, "hidden_sizes": [3]}
TOLD = {"equations": {"classes": [1]}}


def run(folder: Path, out: str, runner: str = "SamplerRunner", **changes: Any) -> int:
    config = {"model": DIFFUSION, "batch_size": 2, "seed": 1, "repeats": 1, "solvers": ["cached_sequential"]}
    path = folder / f"{out}.yml"
    path.write_text(yaml.safe_dump(config | changes))
    return main(["--runner", runner, "--config", str(path), "--out", str(folder / out)])


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def test_a_diffusion_is_drawn_by_its_classes(tmp_path: Path) -> None:
    changes = {"equations": {"num_steps": 4, "classes": [3, 5]}, "solvers": ["cached_sequential", "jacobi"]}
    assert run(tmp_path, "out", **changes) == 0
    with np.load(tmp_path / "out" / "samples.npz") as file:
        assert (file["samples"].shape, file["samples"].dtype) == ((2, 8, 8, 1), np.uint8)
    for name in ("samples.png", "solving.gif", "frames.npz", "convergence_by_step.png"):
        assert (tmp_path / "out" / name).is_file(), name


@pytest.mark.slow  # a classifier of digits and a diffusion of theirs are compiled; the cousin below reads by a stand-in
def test_digits_of_the_shipped_weights_are_read_as_their_class(tmp_path: Path) -> None:
    changes = {"equations": {"num_steps": 25, "classes": [*range(10)], "guidance": 2.0, "method": "dpm_solver"}}
    changes |= {"checkpoint": "diffusion_mnist", "model": None, "judge": "densenet_mnist", "batch_size": 100}
    assert run(tmp_path, "out", trace=False, **changes) == 0
    assert results(tmp_path / "out")["read_as_their_class"] >= 0.9


def test_images_are_taken_to_noise_that_a_sampler_makes_them_of(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "given.npz", images=images)
    source, options = {"images": str(tmp_path / "given.npz")}, {"num_steps": 5}
    assert run(tmp_path, "there", "InversionRunner", source=source, equations=options, trace=False) == 0
    with np.load(tmp_path / "there" / "samples.npz") as file:
        there = dict(file)
    np.testing.assert_array_equal(there["images"], images[:2])
    back = there["samples"].astype(int)
    off = np.abs(back - images[:2])
    found = results(tmp_path / "there")["round_trip"]
    assert found == {"mean_difference": off.mean(), "largest_difference": off.max()}
    # Of a network that says nothing there is left of the image what each turn leaves, there and back.
    left = math.cos(0.999 * math.pi / 2 / 5) ** 10
    np.testing.assert_allclose(back, 127.5 * (1 + left * (images[:2] / 127.5 - 1)), atol=1)
    noise = str(tmp_path / "there" / "samples.npz")
    assert run(tmp_path, "back", noise_file=noise, equations=options, trace=False) == 0
    with np.load(tmp_path / "back" / "samples.npz") as file:
        np.testing.assert_array_equal(file["samples"], there["samples"])


def test_the_share_of_images_that_are_read_as_their_class() -> None:
    @jax.tree_util.register_static
    class Brightness:
        def from_images(self, pixels: Any) -> Any:
            return pixels.reshape(len(pixels), -1)[:, :1]

        def __call__(self, x: Any) -> Any:
            return jnp.concatenate([-x, x], axis=1) - jnp.array([-200.0, 0.0])

    pixels = np.array([0, 255, 255, 0], np.uint8).reshape(4, 1, 1, 1)
    assert read_as_told(Brightness(), pixels, [0, 1]) == 0.5


def test_the_steps_of_each_block_of_a_flow_add_up(tmp_path: Path) -> None:
    solvers = [
        {"name": "segmented", "solver": "cached_sequential"},
        {"name": "segmented", "solver": "jacobi"},
        "jacobi",
    ]
    assert run(tmp_path, "out", model=FLOW, solvers=solvers) == 0
    found = results(tmp_path / "out")
    assert {row["status"] for row in found["rows"]} == {"converged"}
    for row in found["rows"]:
        steps = found["steps_by_segment"][row["label"]]
        assert len(steps) == 3
        assert sum(steps) == row["num_steps"]
    assert found["steps_by_segment"][found["rows"][0]["label"]] == [4, 4, 4]  # of four patches, one by one
    assert (tmp_path / "out" / "solving.gif").is_file()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"equations": {"num_steps": 0}}, "equations: num_steps must be at least 1, not 0"),
        ({"equations": {"guidance": 2.0}}, "equations: guidance 2 needs classes, towards which it guides"),
        ({"equations": {"methd": "ddim"}}, "equations: unknown option 'methd'; did you mean 'method'"),
        ({"equations": {"method": "euler"}}, "method"),
        ({"equations": {"classes": [10]}}, "equations: classes must be from 0 to 9, not [10]"),
        ({"head": {"temperature": 0.5}}, "head does not go with diffusion, which states its equations itself"),
        ({"judge": "densenet_mnist", **TOLD}, "judge: densenet_mnist reads images of shape [28, 28, 1]"),
        ({"judge": "made_mnist", **TOLD}, "judge: model made is no classifier"),
        ({"judge": "densenet_mnist"}, "judge reads images as the classes that they were to be of; equations: classes"),
        ({"model": MADE, "judge": "densenet_mnist"}, "judge does not go with made, which states a pixel an equation"),
        ({"model": MADE, "equations": {"num_steps": 3}}, "equations does not go with made"),
        ({"guess": {"file": "samples.npz"}}, "guess: a file does not go with diffusion"),
        ({"equations": {"classes": []}}, "equations: classes must hold one or more classes, or be left out"),
        (
            {"model": FLOW, "noise_file": "noise.npz"},
            "noise_file: model flow finds no noise of images; valid: diffusion",
        ),
        ({"noise_file": "nowhere.npz"}, "noise_file '"),
        ({"model": FLOW, "equations": {"num_steps": 3}}, "equations: those of model flow have no options"),
        ({"model": {**DIFFUSION, "schedule": "cosin"}}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"model": {**FLOW, "patch_size": 3}}, "patch_size 3 does not divide images of 8 x 8 pixels"),
    ],
)
def test_a_mistake_is_one_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "out", **changes) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": FLOW}, "InversionRunner: model flow finds no noise of images; valid: diffusion"),
        ({"source": {"data": {}}}, "source: the model draws images of shape [8, 8, 1], the dataset mnist5k has [28"),
        ({"source": {"images": "nowhere.npz"}}, "source: the file 'nowhere.npz'"),
        ({"source": {}}, "one of images (a file) and data is needed, and not both"),
        ({"equations": {"method": "ddpm"}}, "equations: method must be ddim, whose steps can be gone back, not ddpm"),
        ({"noise_file": "noise.npz"}, "noise_file does not go with diffusion, which is asked for the noise of images"),
        ({"batch_size": 4}, "has 3 images, the config says batch_size: 4"),
    ],
)
def test_a_mistake_about_images_to_invert_is_one_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "given.npz", images=np.zeros((3, 8, 8, 1), np.uint8))
    given = {"source": {"images": str(tmp_path / "given.npz")}}
    assert run(tmp_path, "out", "InversionRunner", **{**given, **changes}) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
