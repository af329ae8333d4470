"""Completing images whose first pixels are given: every solver finds the same one, and what was given stands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx
from PIL import Image

from data import load_dataset
from models import MODELS, model_config
from models.weights.native import save_checkpoint
from runners.cli.main import main
from runners.config.solvers import parse_entry
from solvers import SOLVERS, Jacobi, solve
from solvers.systems.autoregressive import AutoregressiveSystem, Known
from tests.kit.bank import SAMPLING

BATCH = 3
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "made": {"name": "made", "num_inputs": 64, "hidden_sizes": [24]},
    "made_rgb": {"name": "made", "num_inputs": 48, "hidden_sizes": [24], "image_shape": [4, 4, 3]},
    "pixelcnnpp": {
        **{"name": "pixelcnnpp", "image_shape": [8, 8, 1]},
        **{"nr_resnet": 1, "nr_filters": 4, "nr_logistic_mix": 2},
    },
}


def build(name: str) -> Any:
    """A tiny model whose pixels depend on each other."""
    architecture = ARCHITECTURES[name]
    model = MODELS[architecture["name"]](model_config(architecture), rngs=nnx.Rngs(0))
    if architecture["name"] == "made":
        model.layers[-1].kernel[...] = 10.0 * model.layers[-1].kernel[...]
    return model


def random_images(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (BATCH, *shape)).astype(np.uint8)


def entry(name: str, block_size: int) -> dict[str, Any]:
    """A solver as configs have it."""
    sized = any(field.name == "block_size" for field in dataclasses.fields(SOLVERS[name]))  # type: ignore[arg-type]
    return {"name": name} | ({"block_size": block_size} if sized else {})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_images_come_back_from_their_values(name: str) -> None:
    model = build(name)
    size = int(np.prod(model.image_shape))
    for first in (0, 100, 256 - size):  # the ends among them
        image = np.arange(first, first + size).astype(np.uint8).reshape(1, *model.image_shape)
        values = jax.jit(model.from_images)(jnp.asarray(image))
        assert values.shape[:2] == (np.prod(model.grid), 1)
        np.testing.assert_array_equal(jax.jit(model.to_images)(jnp.moveaxis(values, 0, 1)), image)


@pytest.fixture(scope="module")
def completed() -> Any:
    """PixelCNN++'s completion of images by every solver, for any length: compiled once.

    But for dense_newton, whose derivatives take as long to compile as all the others together.
    """
    model = build("pixelcnnpp")
    given = jax.jit(model.from_images)(jnp.asarray(random_images(model.image_shape)))
    network = jax.jit(lambda m: m.fold())(model)
    solvers = {name: parse_entry(entry(name, 16)).solver for name in SAMPLING if name != "dense_newton"}
    noise = model.draw_noise(jax.random.key(1), BATCH)

    @jax.jit
    def solved(known: Known) -> dict[str, Any]:
        system = AutoregressiveSystem(network, model.head, noise, known)
        return {name: solve(system, solver).value for name, solver in solvers.items()}

    free = jax.jit(lambda: solve(AutoregressiveSystem(network, model.head, noise), Jacobi()).value)()
    return given, free, solved


@pytest.mark.parametrize("length", [0, 1, 20, 64])
def test_every_solver_completes_pixelcnnpp_alike(completed: Any, length: int) -> None:
    """20 pixels end in the middle of a row."""
    given, free, solved = completed
    answers = solved(Known(given, jnp.int32(length)))
    for name, answer in answers.items():
        np.testing.assert_array_equal(answer[:length], given[:length], err_msg=name)
        np.testing.assert_allclose(answer, answers["sequential"], atol=1e-5, err_msg=name)
    if length == 0:
        np.testing.assert_allclose(answers["jacobi"], free, atol=1e-6)
    elif length < 64:
        changed = np.asarray(answers["jacobi"][length:]) != free[length:]
        assert changed.mean() > 0.2  # many are clamped, with and without


def complete(folder: Path, architecture: str, **changes: Any) -> dict[str, Any]:
    """Run a sampler that completes; returns results.json, and samples.npz under "arrays"."""
    model = build(architecture)
    save_checkpoint(folder / "tiny.safetensors", ARCHITECTURES[architecture]["name"], model, {})
    config = {"checkpoint": str(folder / "tiny.safetensors"), "batch_size": BATCH, "repeats": 1, "seed": 1, **changes}
    (folder / "c.yml").write_text(yaml.safe_dump(config))
    line = ["--runner", "SamplerRunner", "--config", str(folder / "c.yml"), "--out", str(folder / "out")]
    assert main(line) == 0
    record: dict[str, Any] = json.loads((folder / "out" / "results.json").read_text())
    with np.load(folder / "out" / "samples.npz") as file:
        record["arrays"] = {name: file[name] for name in file.files}
    return record


@pytest.mark.parametrize(
    ("architecture", "amount", "equations"),
    [
        ("made", {"rows": 3}, 24),
        ("made", {"pixels": 5}, 5),
        pytest.param("made_rgb", {"rows": 2}, 24, marks=pytest.mark.slow),
        ("made_rgb", {"pixels": 5}, 15),
    ],
)
def test_sampler_completes_images_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], architecture: str, amount: dict[str, int], equations: int
) -> None:
    model = build(architecture)
    images = random_images(model.image_shape)
    extra = np.concatenate([images, images])  # more than the batch needs
    np.savez(tmp_path / "images.npz", images=extra)
    known = {"images": str(tmp_path / "images.npz"), **amount}
    names = ["sequential", "cached_sequential", "jacobi", "gs_jacobi", "jacobi_gs"]  # of every solver see above
    solvers = [entry(name, 8) for name in names]
    record = complete(tmp_path, architecture, known_pixels=known, solvers=solvers, trace=False)
    assert record["config"]["known_pixels"] == {"data": None, "rows": None, "pixels": None, **known}
    assert [row["status"] for row in record["rows"]] == ["converged"] * len(names)
    assert [row["mismatched_equations"] for row in record["rows"]] == [0] * len(names)
    assert all(row["max_abs_error"] < 1e-3 for row in record["rows"])
    samples = record["arrays"]["samples"]
    values = jax.jit(model.from_images)(jnp.asarray(images))
    np.testing.assert_array_equal(samples[:, :equations].T, values[:equations])
    shown = np.asarray(model.to_images(jnp.asarray(samples))).reshape(BATCH, -1)
    np.testing.assert_array_equal(shown[:, :equations], images.reshape(BATCH, -1)[:, :equations])
    assert (shown[:, equations:] != images.reshape(BATCH, -1)[:, equations:]).mean() > 0.9
    assert f"{next(iter(amount.values()))} {next(iter(amount))} known" in capsys.readouterr().out


def test_sampler_completes_held_out_images_of_a_dataset(tmp_path: Path) -> None:
    ARCHITECTURES["digits"] = {"name": "made", "num_inputs": 784, "hidden_sizes": [8]}
    known = {"data": {"name": "mnist5k"}, "rows": 14}
    complete(tmp_path, "digits", known_pixels=known, solvers=["cached_sequential", "jacobi"])
    digits = load_dataset("mnist5k").held_out[:BATCH, ..., 0]
    with np.load(tmp_path / "out" / "frames.npz") as file:
        for label in ("cached_sequential", "jacobi"):
            frames = file[f"{label}/frames"][..., 0]
            np.testing.assert_array_equal(frames[:, :, :14], np.broadcast_to(digits[:, :14], frames[:, :, :14].shape))
            assert (frames[-1, :, 14:] != digits[:, 14:]).mean() > 0.5
    with Image.open(tmp_path / "out" / "samples.png") as image:
        assert min(image.size) > 28


@pytest.mark.parametrize("component", [pytest.param("gumbel", marks=pytest.mark.slow), "inverse_cdf"])
def test_head_options_reach_the_samples_the_noise_and_the_results(tmp_path: Path, component: str) -> None:
    cool = {"component": component, "temperature": 0.25}
    record = complete(tmp_path, "pixelcnnpp", head=cool, solvers=["cached_sequential"], trace=False)
    assert record["config"]["head"] == cool
    names = {"samples", "seed", "logistic_u"} | ({"mixture_u"} if component == "gumbel" else set())
    assert record["arrays"].keys() == names
    assert record["arrays"]["samples"].shape == (BATCH, 8, 8, 1)
    model, noise = build("pixelcnnpp"), record["arrays"]
    head = dataclasses.replace(model.head, **cool)
    by_equation = {k: jnp.moveaxis(v.reshape(BATCH, 64, -1), 0, 1) for k, v in noise.items() if k.endswith("_u")}
    system = AutoregressiveSystem(jax.jit(lambda m: m.fold())(model), head, by_equation)
    swept = jax.jit(lambda s, x: s.sweep(x))(system, jnp.moveaxis(noise["samples"].reshape(BATCH, 64, 1), 0, 1))
    np.testing.assert_allclose(jnp.moveaxis(swept, 0, 1).reshape(BATCH, 8, 8, 1), noise["samples"], atol=1e-4)


def test_head_of_the_model_is_recorded_where_nothing_is_changed(tmp_path: Path) -> None:
    record = complete(tmp_path, "made", solvers=["jacobi"], trace=False)
    assert record["config"]["head"] == {"bound": build("made").head.bound}
    assert record["config"]["known_pixels"] is None
