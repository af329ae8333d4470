"""Published PixelCNN++ weights: tiny files of the same format, against the published network written plainly."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax.serialization import msgpack_serialize
from jax import lax

from models.pixelcnnpp.model import PixelCNNPP, PixelCNNPPConfig
from models.weights.checkpoint import CheckpointError, flat_state
from models.weights.load import load_checkpoint
from models.weights.native import save_checkpoint
from runners.cli.main import main

Tree: TypeAlias = dict[str, Any]
HEIGHT, WIDTH, BATCH = 8, 12, 2
FILTERS, MIXTURES = 4, 2


# The format: what each module of the published network holds.


def published(channels: int, resnet: int = 1, filters: int = FILTERS) -> Tree:
    """Random weights."""
    random = np.random.RandomState(channels)

    def numbers(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    def layer(kind: str, shape: tuple[int, ...], outputs: int) -> Tree:
        lengths = (shape[0],) + (1,) * (len(shape) - 1)
        return {kind: {"weight_v": numbers(*shape), "weight_g": numbers(*lengths), "bias": 0.5 * numbers(outputs)}}

    def conv(inputs: int, outputs: int, *size: int) -> Tree:
        return layer("WNConv_0", (outputs, inputs, *size), outputs)

    def deconv(*size: int) -> Tree:
        return layer("WNConvTranspose_0", (filters, filters, *size), filters)

    def dense(inputs: int, outputs: int) -> Tree:
        return layer("WNDense_0", (outputs, inputs), outputs)

    def block(name: str, size: tuple[int, int], sources: int) -> Tree:
        skip = {"nin_0": dense(2 * sources * filters, filters)} if sources else {}
        convs = {f"{name}_conv2d_{i}": conv(2 * filters, (i + 1) * filters, *size) for i in range(2)}
        return {**convs, **skip}

    def stage(pairs: int, sources: int) -> Tree:
        vertical = [block("down_shifted", (2, 3), sources) for _ in range(pairs)]
        horizontal = [block("down_right_shifted", (2, 2), sources + 1) for _ in range(pairs)]
        return {f"gated_resnet_{2 * k + i}": (vertical, horizontal)[i][k] for k in range(pairs) for i in range(2)}

    return {
        **{f"PixelCNNLayer_up_{i}": stage(resnet, 0) for i in range(3)},
        **{f"PixelCNNLayer_down_{i}": stage(resnet + (i > 0), 1) for i in range(3)},
        "down_shifted_conv2d_0": conv(channels + 1, filters, 2, 3),
        "down_shifted_conv2d_1": conv(channels + 1, filters, 1, 3),
        "down_right_shifted_conv2d_0": conv(channels + 1, filters, 2, 1),
        **{f"down_shifted_conv2d_{i}": conv(filters, filters, 2, 3) for i in (2, 3)},
        **{f"down_right_shifted_conv2d_{i}": conv(filters, filters, 2, 2) for i in (1, 2)},
        **{f"down_shifted_deconv2d_{i}": deconv(2, 3) for i in range(2)},
        **{f"down_right_shifted_deconv2d_{i}": deconv(2, 2) for i in range(2)},
        "nin_0": dense(filters, (3 if channels == 1 else 10) * MIXTURES),
    }


def write(path: Path, tree: Any) -> Path:
    path.write_bytes(msgpack_serialize(tree))
    return path


def expected(channels: int, **more: Any) -> dict[str, Any]:
    return {"name": "pixelcnnpp", "image_shape": [HEIGHT, WIDTH, channels], **more}


# The published network, full images only: (batch, height, width, channels) and nothing shared with ours.


def kernel(layer: Tree) -> Any:
    v = layer["weight_v"]
    return layer["weight_g"] * v / jnp.sqrt(jnp.sum(v**2, axis=tuple(range(1, v.ndim)), keepdims=True))


def conv(x: Any, weight: Any, stride: int, padding: Any) -> Any:
    return lax.conv_general_dilated(x, weight, (stride, stride), padding, dimension_numbers=("NHWC", "OIHW", "NHWC"))


def down_shifted(module: Tree, x: Any, stride: int = 1) -> Any:
    layer = module["WNConv_0"]
    height, width = layer["weight_v"].shape[2:]
    return conv(x, kernel(layer), stride, ((height - 1, 0), (width // 2, width // 2))) + layer["bias"]


def down_right_shifted(module: Tree, x: Any, stride: int = 1) -> Any:
    layer = module["WNConv_0"]
    height, width = layer["weight_v"].shape[2:]
    return conv(x, kernel(layer), stride, ((height - 1, 0), (width - 1, 0))) + layer["bias"]


def deconv(module: Tree, x: Any, left: int) -> Any:
    """The gradient of a convolution of stride 2, cut to twice the size of x: columns from ``left`` on."""
    layer = module["WNConvTranspose_0"]
    _, outputs, height, width = layer["weight_v"].shape
    batch, rows, columns, _ = x.shape
    large = jax.ShapeDtypeStruct((batch, 2 * rows + height - 1, 2 * columns + width - 1, outputs), x.dtype)
    (y,) = jax.linear_transpose(lambda z: conv(z, kernel(layer), 2, "VALID"), large)(x)
    return y[:, : 2 * rows, left : left + 2 * columns] + layer["bias"]


def nin(module: Tree, x: Any) -> Any:
    return x @ kernel(module["WNDense_0"]).T + module["WNDense_0"]["bias"]


def concat_elu(x: Any) -> Any:
    return jax.nn.elu(jnp.concatenate([x, -x], axis=-1))


def gated_resnet(module: Tree, shifted: Callable[..., Any], x: Any, skip: Any = None) -> Any:
    h = shifted(module[f"{shifted.__name__}_conv2d_0"], concat_elu(x))
    if skip is not None:
        h = h + nin(module["nin_0"], concat_elu(skip))
    a, b = jnp.split(shifted(module[f"{shifted.__name__}_conv2d_1"], concat_elu(h)), 2, axis=-1)
    return x + a * jax.nn.sigmoid(b)


def shift(x: Any, axis: int) -> Any:
    """By one row or column; zeros come in."""
    return jnp.roll(x, 1, axis).at[(slice(None),) * axis + (0,)].set(0.0)


@jax.jit
def published_logits(tree: Tree, images: Any) -> Any:
    x = jnp.concatenate([images, jnp.ones_like(images[..., :1])], axis=-1)
    vertical = [shift(down_shifted(tree["down_shifted_conv2d_0"], x), 1)]
    above = shift(down_shifted(tree["down_shifted_conv2d_1"], x), 1)
    horizontal = [above + shift(down_right_shifted(tree["down_right_shifted_conv2d_0"], x), 2)]
    for i in range(3):
        stage = tree[f"PixelCNNLayer_up_{i}"]
        for k in range(0, len(stage), 2):
            vertical.append(gated_resnet(stage[f"gated_resnet_{k}"], down_shifted, vertical[-1]))
            block = stage[f"gated_resnet_{k + 1}"]
            horizontal.append(gated_resnet(block, down_right_shifted, horizontal[-1], vertical[-1]))
        if i < 2:
            vertical.append(down_shifted(tree[f"down_shifted_conv2d_{i + 2}"], vertical[-1], 2))
            horizontal.append(down_right_shifted(tree[f"down_right_shifted_conv2d_{i + 1}"], horizontal[-1], 2))
    v, h = vertical.pop(), horizontal.pop()
    for i in range(3):
        stage = tree[f"PixelCNNLayer_down_{i}"]
        for k in range(0, len(stage), 2):
            v = gated_resnet(stage[f"gated_resnet_{k}"], down_shifted, v, vertical.pop())
            both = jnp.concatenate([v, horizontal.pop()], axis=-1)
            h = gated_resnet(stage[f"gated_resnet_{k + 1}"], down_right_shifted, h, both)
        if i < 2:
            v = deconv(tree[f"down_shifted_deconv2d_{i}"], v, left=1)
            h = deconv(tree[f"down_right_shifted_deconv2d_{i}"], h, left=0)
    assert not vertical
    assert not horizontal
    return nin(tree["nin_0"], jax.nn.elu(h))


def published_sample(logits: np.ndarray, mixture_u: np.ndarray, logistic_u: np.ndarray) -> np.ndarray:
    """RGB, pixel by pixel: the component by Gumbel noise, then the colours one after the other."""
    x = np.zeros(logistic_u.shape)
    for pixel in np.ndindex(logits.shape[:-1]):
        k = np.argmax(logits[pixel][:MIXTURES] - np.log(-np.log(mixture_u[pixel])))
        mean, log_scale, factors = logits[pixel][MIXTURES:].reshape(3, 3, MIXTURES)[..., k].T
        factors = np.tanh(factors)
        for c, u in enumerate(logistic_u[pixel]):
            if c == 1:
                mean[c] += factors[0] * x[pixel][0]
            if c == 2:
                mean[c] += factors[1] * x[pixel][0] + factors[2] * x[pixel][1]
            x[pixel][c] = np.clip(mean[c] + np.exp(max(log_scale[c], -7.0)) * np.log(u / (1.0 - u)), -1.0, 1.0)
    return x


# Right files.


@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "rgb"])
def test_imported_network_is_the_published_one(channels: int, tmp_path: Path) -> None:
    tree = published(channels)
    checkpoint = load_checkpoint(str(write(tmp_path / "w.flax", tree)), expected(channels))
    model = checkpoint.model
    assert model.config == PixelCNNPPConfig((HEIGHT, WIDTH, channels), 1, FILTERS, MIXTURES)
    assert (checkpoint.name, checkpoint.info) == ("pixelcnnpp", {"imported_from": "w.flax"})
    images = np.random.RandomState(2).uniform(-1.0, 1.0, (BATCH, HEIGHT, WIDTH, channels)).astype(np.float32)

    @jax.jit
    def logits(model: PixelCNNPP, x: Any) -> Any:
        network = model.fold()
        count = network.num_equations
        return network.conditionals(x, network.init_cache(x.shape[1], x.dtype), 0, count, count)[0]

    ours = logits(model, jnp.asarray(images).reshape(BATCH, -1, channels).swapaxes(0, 1)).swapaxes(0, 1)
    theirs = np.asarray(published_logits(tree, images))
    assert theirs.std() > 0.1
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def sample(folder: Path, channels: int, **noise: np.ndarray) -> int:
    """A run of the program on a published file and noise, which are written to ``folder`` first."""
    np.savez(folder / "noise.npz", **noise)  # type: ignore[arg-type]
    config = {
        "model": {"name": "pixelcnnpp", "image_shape": [HEIGHT, WIDTH, channels]},
        "checkpoint": str(write(folder / "w.flax", published(channels))),
        "noise_file": str(folder / "noise.npz"),
        "batch_size": BATCH,
        "solvers": ["jacobi"],
        "repeats": 1,
        "trace": False,
    }
    (folder / "c.yml").write_text(yaml.safe_dump(config))
    return main(["--runner", "SamplerRunner", "--config", str(folder / "c.yml"), "--out", str(folder / "out")])


def uniform(*last: int) -> np.ndarray:
    return np.random.RandomState(3).uniform(1e-3, 1.0 - 1e-3, (BATCH, HEIGHT, WIDTH, *last)).astype(np.float32)


def test_samples_are_the_published_ones_of_the_same_noise(tmp_path: Path) -> None:
    noise = {"mixture_u": uniform(MIXTURES), "logistic_u": uniform(3)}
    assert sample(tmp_path, 3, **noise) == 0
    with np.load(tmp_path / "out" / "samples.npz") as file:
        found = {name: file[name] for name in file.files}
    x = found["samples"]
    assert x.shape == (BATCH, HEIGHT, WIDTH, 3)
    assert all((found[name] == array).all() for name, array in noise.items())
    assert 0.2 < (np.abs(x) < 1.0).mean() < 1.0  # ends of the range are reached, and not by all
    logits = np.asarray(published_logits(published(3), x), np.float64)
    np.testing.assert_allclose(x, published_sample(logits, **noise), atol=1e-4)


@pytest.mark.parametrize(
    ("mixtures", "worst", "sentence"),
    [
        (MIXTURES, 1.0, "noise 'mixture_u' must lie between 0 and 1, both excluded; it holds 1.0"),
        (MIXTURES + 1, 0.5, f"mixture_u has shape ({BATCH}, {HEIGHT}, {WIDTH}, 3), expected ({BATCH}, {HEIGHT}, ..."),
    ],
)
def test_noise_that_does_not_fit_is_refused(
    mixtures: int, worst: float, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixture_u = uniform(mixtures)
    mixture_u[-1, -1, -1, -1] = worst
    assert sample(tmp_path, 1, mixture_u=mixture_u, logistic_u=uniform(1)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: noise_file {str(tmp_path / 'noise.npz')!r}: {sentence.removesuffix('...')}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_shapes_tell_the_architecture(channels: int, size: int, tmp_path: Path) -> None:
    path = write(tmp_path / "w.flax", published(channels, resnet=2, filters=3))
    config = load_checkpoint(str(path), {"name": "pixelcnnpp", "dropout": 0.5, "nr_filters": None}).model.config
    assert config == PixelCNNPPConfig((size, size, channels), 2, 3, MIXTURES, dropout=0.5)


@pytest.mark.parametrize("name", ["w.flax", "w.msgpack", "w.FLAX"])
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda tree: {"params": tree},
        lambda tree: {"step": 3, "params": {"params": tree}, "opt_state": {"0": {}}},
        lambda tree: jax.tree.map(lambda a: a.astype(jnp.bfloat16), tree),
        lambda tree: jax.tree.map(lambda a: a.astype(np.float16), tree),
    ],
)
def test_parameters_as_trainings_of_flax_save_them(name: str, wrapped: Any, tmp_path: Path) -> None:
    tree = published(1, filters=2)
    model = load_checkpoint(str(write(tmp_path / name, wrapped(tree))), {"name": "pixelcnnpp"}).model
    bias = tree["nin_0"]["WNDense_0"]["bias"]
    np.testing.assert_allclose(model.network.output.weight.bias[...], bias, rtol=0.01)


def test_imported_weights_survive_our_own_format(tmp_path: Path) -> None:
    imported = load_checkpoint(str(write(tmp_path / "w.flax", published(3))), expected(3))
    save_checkpoint(tmp_path / "w.safetensors", imported.name, imported.model, imported.info)
    again = load_checkpoint(str(tmp_path / "w.safetensors"), expected(3))
    assert (again.model.config, again.info) == (imported.model.config, imported.info)
    before, after = flat_state(imported.model), flat_state(again.model)
    assert before.keys() == after.keys()
    assert all((np.asarray(before[name]) == np.asarray(after[name])).all() for name in before)


# Wrong files.


def changed(path: str, value: Any = None) -> Tree:
    """The gray network with one entry replaced or added; None takes it out."""
    tree = node = published(1)
    *folders, last = path.split("/")
    for folder in folders:
        node = node.setdefault(folder, {})
    if value is None:
        del node[last]
    else:
        node[last] = value
    return tree


BLOCK = "PixelCNNLayer_down_2/gated_resnet_3"
ENTRIES = [  # some that the architecture is read from, and others
    ("PixelCNNLayer_up_0/gated_resnet_0/down_shifted_conv2d_0/WNConv_0/bias", (4,)),
    ("down_shifted_conv2d_0/WNConv_0/weight_v", (4, 2, 2, 3)),
    ("down_right_shifted_deconv2d_1/WNConvTranspose_0/weight_g", (4, 1, 1, 1)),
    ("nin_0/WNDense_0/weight_v", (6, 4)),
    ("nin_0/WNDense_0/bias", (6,)),
    (f"{BLOCK}/nin_0/WNDense_0/weight_v", (4, 16)),
]
FEW = np.zeros((5, 5), np.float32)


def refused(path: Path, **model: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(path), {"name": "pixelcnnpp", **model})
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(("name", "shape"), ENTRIES)
def test_entry_that_is_missing_or_of_a_wrong_shape_is_named(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "w.flax", changed(name))
    assert refused(path) == f"{path}: entry {name!r} is missing; expected shape {shape}"
    for wrong in ((shape[0] - 1, *shape[1:-1], shape[-1] + 1), ()):
        write(path, changed(name, np.ones(wrong, np.float32)))
        assert refused(path) == f"{path}: entry {name!r} has shape {wrong}; expected {shape}"


@pytest.mark.parametrize("name", ["extra", "nin_0/extra", f"{BLOCK}/nin_1/WNDense_0/bias"])
def test_entry_too_many_is_named(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "w.flax", changed(name, FEW))
    assert refused(path) == f"{path}: unexpected entry {name!r} of shape (5, 5)"


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    name, shape = ENTRIES[3]
    path = write(tmp_path / "w.flax", changed(name, np.full(shape, np.nan, np.float32)))
    assert refused(path) == f"{path}: entry {name!r} holds nan; weights must be finite"


def test_whole_modules_that_are_missing_or_too_many(tmp_path: Path) -> None:
    path = write(tmp_path / "w.flax", changed("nin_0"))
    message = f"{path}: entry 'nin_0/WNDense_0/weight_v' is missing; expected shape (15, 4)"
    assert refused(path, nr_logistic_mix=5) == message
    write(path, changed("PixelCNNLayer_up_1/gated_resnet_1"))
    assert refused(path).startswith(f"{path}: entry 'PixelCNNLayer_up_1/gated_resnet_1/down_right_shifted_conv2d_0/")
    write(path, changed("PixelCNNLayer_up_2/gated_resnet_2", published(1)["PixelCNNLayer_up_2"]["gated_resnet_0"]))
    assert refused(path).startswith(f"{path}: unexpected entry 'PixelCNNLayer_up_2/gated_resnet_2/down_shifted_")
    write(path, {"weights": published(1)})
    assert refused(path).startswith(f"{path}: entry 'down_shifted_conv2d_0/WNConv_0/weight_v' is missing; expected")


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"nr_filters": 40}, "the config says nr_filters: 40, the checkpoint nr_filters: 4"),
        ({"nr_resnet": 5}, "the config says nr_resnet: 5, the checkpoint nr_resnet: 1"),
        ({"nr_logistic_mix": 10}, "the config says nr_logistic_mix: 10, the checkpoint nr_logistic_mix: 2"),
        (
            {"image_shape": [8, 12, 3], "nr_filters": 4},
            "the config says image_shape: [8, 12, 3], the checkpoint image_shape: [8, 12, 1]",
        ),
        ({"image_shape": (8, 12, 1), "nr_resnet": 3, "nr_filters": 7}, re.compile("the config says nr_resnet: 3, .*")),
        ({"image_shape": [8, 10, 1]}, re.compile("model pixelcnnpp: image_shape .* must be divisible by 4.*")),
        ({"nr_filter": 4}, re.compile("model pixelcnnpp: unknown option 'nr_filter'; did you mean 'nr_filters'.*")),
    ],
)
def test_config_that_contradicts_the_file(model: dict[str, Any], sentence: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "w.flax", published(1))
    found = refused(path, **model).removeprefix(f"{path}: ")
    assert found == sentence if isinstance(sentence, str) else sentence.fullmatch(found)


def test_images_of_other_channels_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.flax", published(2))
    channels = "1 (gray) or 3 (RGB) channels, not 2"
    assert refused(path) == f"{path}: model pixelcnnpp: image_shape [28, 28, 2]: {channels}"


DAMAGED = "is damaged, or not in flax's msgpack format"
NO_TREE = "is not a tree of parameters: expected arrays by name"
GOOD = msgpack_serialize(published(1))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", DAMAGED + ": it is empty"),
        (GOOD[: len(GOOD) // 2], DAMAGED),
        (GOOD[:-1], DAMAGED),
        (GOOD + b"\0", DAMAGED),
        (bytes(range(256)), DAMAGED),
        (msgpack_serialize({"a": {"b": FEW}}).replace(b"float32", b"object0"), DAMAGED),
        (b"\x91" * 10**5, DAMAGED),
        (msgpack_serialize(FEW), NO_TREE),
        (msgpack_serialize([FEW]), NO_TREE),
        (msgpack_serialize({1: FEW}), NO_TREE),
        (msgpack_serialize({"a": {b"b": FEW}}), NO_TREE),
        (msgpack_serialize({"a": {"b": "text"}}), ": entry 'a/b' holds str; expected an array of numbers"),
        (msgpack_serialize({"a": {"b": [FEW]}}), ": entry 'a/b' holds list; expected an array of numbers"),
        (msgpack_serialize({"a": {"b": FEW > 0}}), ": entry 'a/b' holds bool; expected an array of numbers"),
        (msgpack_serialize({"a": FEW + 1j}), ": entry 'a' holds complex64; expected an array of numbers"),
    ],
)
def test_files_that_are_no_parameters(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "w.flax"
    path.write_bytes(content)
    assert refused(path) == str(path) + (sentence if sentence[0] == ":" else f" {sentence}")
