"""MADE itself: masks, degrees, the likelihood, images, and the importer against a plain torch network."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import model_config
from models.made.model import MADE, MADEConfig, generate_masks, sort_by_degree, unit_degrees
from models.weights.checkpoint import CheckpointError
from models.weights.load import load_checkpoint
from models.weights.native import save_checkpoint
from solvers import Sequential, solve
from solvers.heads.logistic import LocationScale, Logistic
from solvers.systems.autoregressive import AutoregressiveSystem


@pytest.mark.parametrize(("num_inputs", "hidden"), [(1, (3,)), (5, (4,)), (30, (40, 20)), (64, (32, 32, 16))])
def test_masks_are_autoregressive_and_use_what_they_may(num_inputs, hidden):
    masks = generate_masks(num_inputs, hidden)
    reach = masks[0].astype(int)
    for mask in masks[1:]:
        reach = (mask.astype(int) @ reach > 0).astype(int)
    mean, log_scale = np.split(reach, 2)
    np.testing.assert_array_equal(mean, log_scale)
    assert not np.any(np.triu(mean))
    degrees = unit_degrees(masks)
    assert all(list(layer) == sorted(layer) for layer in degrees)


def test_masks_that_look_ahead_are_refused():
    masks = generate_masks(6, (8,))
    masks[-1][:, :] = True
    with pytest.raises(ValueError, match="an output reads its own pixel or a later one"):
        unit_degrees(masks)


def plain_forward(layers, x):
    """The network as published: masked dense layers with ReLU between; x (B, T)."""
    for i, (kernel, bias, mask) in enumerate(layers):
        x = x @ (kernel * mask).T + bias
        if i < len(layers) - 1:
            x = np.maximum(x, 0)
    return x


def random_layers(num_inputs, hidden, seed, shuffle=True):
    """Weights as a foreign file would hold them: units in no order."""
    random = np.random.RandomState(seed)
    masks = generate_masks(num_inputs, hidden)
    orders = [np.arange(num_inputs), *(random.permutation(size) if shuffle else np.arange(size) for size in hidden)]
    layers = []
    for i, mask in enumerate(masks):
        mask = mask[:, orders[i]]
        if i < len(hidden):
            mask = mask[orders[i + 1]]
        kernel = random.normal(size=mask.shape).astype(np.float32) / math.sqrt(mask.shape[1])
        layers.append((kernel, random.normal(size=mask.shape[0]).astype(np.float32) * 0.1, mask))
    return layers


def test_sorting_units_keeps_the_function():
    layers = random_layers(12, (20, 9), 0)
    x = np.random.RandomState(1).normal(size=(5, 12))
    np.testing.assert_allclose(plain_forward(sort_by_degree(layers), x), plain_forward(layers, x), atol=1e-12)


@pytest.fixture
def torch_file(tmp_path):
    import torch

    layers = random_layers(12, (20, 9), 0)
    state = {}
    for i, parts in enumerate(layers):
        for name, value in zip(("weight", "bias", "mask"), parts, strict=True):
            state[f"net.{2 * i}.{name}"] = torch.from_numpy(np.ascontiguousarray(value.astype(np.float32)))
    path = tmp_path / "made.pth"
    torch.save(state, path)
    return path, layers


def test_imported_weights_compute_what_they_did(torch_file):
    path, layers = torch_file
    model = load_checkpoint(str(path), {"name": "made", "clamp_lambda": 0.01}).model
    assert model.config == MADEConfig(12, (20, 9), 0.01)
    x = np.random.RandomState(2).normal(size=(5, 12)).astype(np.float32)
    network = model.fold()
    params, _ = network.conditionals(jnp.asarray(x.T), network.init_cache(5, jnp.float32), 0, 12, 12)
    ours = np.concatenate([params.mean, params.log_scale]).T
    np.testing.assert_allclose(ours, plain_forward(layers, x), rtol=1e-5, atol=1e-5)


def test_imported_sample_is_the_fixed_point(torch_file):
    path, layers = torch_file
    model = load_checkpoint(str(path), {"name": "made", "clamp_lambda": 0.01}).model
    noise = model.draw_noise(jax.random.key(0), 3)
    x = np.asarray(solve(AutoregressiveSystem(model.fold(), model.head, noise), Sequential()).value).T
    mean, log_scale = np.split(plain_forward(layers, x), 2, axis=1)
    bound = math.log(0.99 / 0.01)
    expected = np.clip(mean + np.exp(log_scale) * np.asarray(noise["logistic_noise"]).T, -bound, bound)
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4)


def test_import_of_a_file_that_a_config_contradicts(torch_file):
    with pytest.raises(CheckpointError, match="config says num_inputs: 13, the checkpoint num_inputs: 12"):
        load_checkpoint(str(torch_file[0]), {"name": "made", "num_inputs": 13})


def test_logistic_density_integrates_to_one_and_matches_its_samples():
    params = LocationScale(jnp.full((1, 1), 0.7), jnp.full((1, 1), -0.4))
    grid = np.linspace(-30, 30, 60001)
    log_p = Logistic().log_prob(
        LocationScale(jnp.full((grid.size, 1), 0.7), jnp.full((grid.size, 1), -0.4)), jnp.asarray(grid)[:, None]
    )
    assert np.trapezoid(np.exp(np.asarray(log_p[:, 0], np.float64)), grid) == pytest.approx(1.0, abs=1e-4)
    u = np.array([0.1, 0.5, 0.9])
    noise = {"logistic_noise": jnp.asarray(np.log(u / (1 - u)))[None]}
    wide = LocationScale(jnp.broadcast_to(params.mean, (1, 3)), jnp.broadcast_to(params.log_scale, (1, 3)))
    samples = np.asarray(Logistic().sample(wide, noise))[0]
    cdf = 1 / (1 + np.exp(-(samples - 0.7) / np.exp(-0.4)))
    np.testing.assert_allclose(cdf, u, rtol=1e-5)


def test_bits_per_dim_of_a_known_density():
    """Weights zero: every logit is standard logistic, whose density in the squeezed pixel is uniform."""
    model = MADE(MADEConfig(4, (3,), 1e-6, (2, 2, 1)), rngs=nnx.Rngs(0))
    for layer in model.layers:
        layer.kernel[...] = 0 * layer.kernel[...]
    images = np.random.RandomState(0).randint(0, 256, (6, 2, 2, 1)).astype(np.uint8)
    bits = model.bits_per_dim(jnp.asarray(images), jax.random.key(0))
    np.testing.assert_allclose(bits, 8.0, atol=1e-4)


def test_pixels_survive_the_way_to_logits_and_back():
    model = MADE(MADEConfig(16, (3,), 1e-6), rngs=nnx.Rngs(0))
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 4, 4, 1)
    x = 1e-6 + (1 - 2e-6) * (pixels.reshape(16, 16).astype(np.float64) + 0.5) / 256
    logits = jnp.asarray(np.log(x) - np.log1p(-x), jnp.float32)
    np.testing.assert_array_equal(model.to_images(logits), pixels)


def test_float16_weights_load_as_float32(tmp_path):
    model = MADE(MADEConfig(9, (5,)), rngs=nnx.Rngs(0))
    save_checkpoint(tmp_path / "half.safetensors", "made", model, {}, np.float16)
    loaded = load_checkpoint(str(tmp_path / "half.safetensors")).model
    assert loaded.layers[0].kernel[...].dtype == jnp.float32
    np.testing.assert_allclose(loaded.layers[0].kernel[...], model.layers[0].kernel[...], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_inputs": 0}, "num_inputs must be at least 1"),
        ({"num_inputs": 4, "hidden_sizes": []}, "hidden_sizes must hold one or more positive sizes"),
        ({"num_inputs": 4, "clamp_lambda": 0.5}, r"clamp_lambda must be in \(0, 0.5\)"),
        ({"num_inputs": 4, "image_shape": [3, 1, 1]}, r"image_shape \[3, 1, 1\] does not hold num_inputs"),
        ({}, "num_inputs is missing"),
        ({"num_inputs": "many"}, "num_inputs should be"),
        ({"num_inputs": 4, "hiden_sizes": [3]}, "unknown option 'hiden_sizes'; did you mean 'hidden_sizes'"),
    ],
)
def test_bad_architectures(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        model_config({"name": "made", **options})


def test_shapes_for_pictures():
    assert MADEConfig(784).shape == (28, 28, 1)
    assert MADEConfig(3072).shape == (32, 32, 3)
    assert MADEConfig(7).shape == (1, 7, 1)


def test_metadata_is_readable_by_others(tmp_path):
    from safetensors import safe_open

    save_checkpoint(tmp_path / "w.safetensors", "made", MADE(MADEConfig(9, (5,)), rngs=nnx.Rngs(0)), {"epochs": 3})
    with safe_open(tmp_path / "w.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["architecture"])["num_inputs"] == 9
    assert json.loads(metadata["info"]) == {"epochs": 3}
