"""torchvision's state dicts: the same logits, the same training, and files that do not fit."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.weights.checkpoint import CheckpointError
from models.weights.downloads import downloads
from models.weights.load import load_checkpoint

torch = pytest.importorskip("torch")
from torchvision import models as published  # noqa: E402

GROWTH, LAYERS, INIT, CLASSES = 4, (2, 3), 6, 5
IMAGE = [21, 24, 3]
EXPECTED = {"name": "densenet", "image_shape": IMAGE}
call = jax.jit(lambda network, x: network(x))


def randomized(network):
    """With statistics that are not those of a new network."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0.0, 0.1)
    return network.eval()


def tiny(layers=LAYERS, **options):
    torch.manual_seed(0)
    return randomized(published.DenseNet(GROWTH, layers, INIT, num_classes=CLASSES, **{"bn_size": 3, **options}))


def older(state):
    """The names of entries in older files, which count no batches."""
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value for key, value in kept.items()}


def save(path, state):
    torch.save(state, path)
    return str(path)


def their_logits(network, x):
    with torch.no_grad():
        return network(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()


@pytest.mark.parametrize("names", [dict, older])
def test_logits_and_architecture(names, tmp_path):
    network = tiny()
    model = load_checkpoint(save(tmp_path / "tiny.pth", names(network.state_dict())), EXPECTED).model
    assert (model.config.growth_rate, model.config.block_layers, model.config.bn_size) == (GROWTH, LAYERS, 3)
    assert (model.config.num_init_features, model.config.num_classes) == (INIT, CLASSES)
    assert model.image_shape == tuple(IMAGE)
    x = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(call(model.fold(), x), their_logits(network, x), rtol=0, atol=1e-5)


def test_training_is_torchs(tmp_path):
    """Loss, gradients of the first and last kernels and of a norm, and the running statistics after a step."""
    network = tiny()
    model = load_checkpoint(save(tmp_path / "tiny.pth", network.state_dict()), EXPECTED).model
    x = np.random.default_rng(1).normal(size=(4, *IMAGE)).astype(np.float32)
    classes = np.array([0, 1, 2, 4])
    network.train()
    loss = torch.nn.functional.cross_entropy(network(torch.from_numpy(x.transpose(0, 3, 1, 2))), torch.tensor(classes))
    loss.backward()
    model.train()
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def value_and_grad(parameters):
        def loss(parameters):
            model = nnx.merge(graph, parameters, rest, copy=True)
            log_p = jax.nn.log_softmax(model(jnp.asarray(x)))
            return -jnp.mean(log_p[jnp.arange(4), classes]), nnx.state(model, nnx.BatchStat)

        return jax.value_and_grad(loss, has_aux=True)(parameters)

    (ours, statistics), gradient = value_and_grad(parameters)
    assert float(ours) == pytest.approx(loss.item(), abs=1e-5)
    features = network.features
    layer, norm = features.denseblock2.denselayer2, features.transition1.norm
    pairs = [
        (gradient["stem"]["conv"]["kernel"][...], features.conv0.weight.grad.permute(2, 3, 1, 0)),
        (gradient["blocks"][1][1]["conv2"]["kernel"][...], layer.conv2.weight.grad.permute(2, 3, 1, 0)),
        (gradient["blocks"][1][1]["norm1"]["scale"][...], layer.norm1.weight.grad),
        (gradient["transitions"][0]["norm"]["bias"][...], norm.bias.grad),
        (statistics["transitions"][0]["norm"]["var"][...], norm.running_var),
        (statistics["blocks"][1][1]["norm2"]["mean"][...], layer.norm2.running_mean),
    ]
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["densenet121", *(pytest.param(f"densenet{depth}", marks=pytest.mark.slow) for depth in (161, 169, 201))],
)
def test_published_networks_agree(name, tmp_path):
    """With the registry's architecture but for the image's size; 40 pixels a side leave the last block one."""
    torch.manual_seed(0)
    network = randomized(published.get_model(name, weights=None))
    entry = downloads()[name].model
    path = save(tmp_path / f"{name}.pth", network.state_dict())
    model = load_checkpoint(path, {**entry, "image_shape": [40, 40, 3]}).model
    x = np.random.default_rng(0).normal(size=(1, 40, 40, 3)).astype(np.float32)
    np.testing.assert_allclose(call(model.fold(), x), their_logits(network, x), rtol=0, atol=1e-4)


def without(key):
    return lambda state: {name: value for name, value in state.items() if name != key}


def reshaped(key):
    return lambda state: {**state, key: state[key][:-1]}


CONV = "features.denseblock1.denselayer2.conv1.weight"


@pytest.mark.parametrize(
    ("change", "expected", "message"),
    [
        (without(CONV), {}, f"entry '{CONV}' is missing; expected shape (12, 10, 1, 1)"),
        (
            without("features.norm5.running_var"),
            {},
            "entry 'features.norm5.running_var' is missing; expected shape (19,)",
        ),
        (reshaped(CONV), {}, f"entry '{CONV}' has shape (11, 10, 1, 1); expected (12, 10, 1, 1)"),
        (lambda s: {**s, "extra": s["classifier.bias"]}, {}, "unexpected entry 'extra' of shape (5,)"),
        (dict, {"block_layers": [2, 4]}, "the config says block_layers: [2, 4], the checkpoint block_layers: [2, 3]"),
        (dict, {"num_classes": 10}, "the config says num_classes: 10, the checkpoint num_classes: 5"),
        (
            dict,
            {"image_shape": [21, 24, 1]},
            "the config says image_shape: [21, 24, 1], the checkpoint image_shape: [21, 24, 3]",
        ),
        (dict, {"stem": "small"}, "the config says stem: small, the checkpoint stem: imagenet"),
        (dict, {"image_shape": [3, 24, 3]}, "image_shape [3, 24, 3] is too small for 2 blocks"),
        (
            lambda s: {"net.0.weight": s["classifier.bias"]},
            {},
            "is not a torchvision DenseNet: expected entries features.conv0, ",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(change, expected, message, tmp_path):
    path = save(tmp_path / "tiny.pth", change(tiny().state_dict()))
    with pytest.raises(CheckpointError, match=re.escape(message)) as error:
        load_checkpoint(path, {**EXPECTED, **expected})
    assert str(error.value).startswith(path)
    assert "\n" not in str(error.value)
