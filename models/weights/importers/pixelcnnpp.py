"""PixelCNN++'s published weights: a Linen parameter tree in flax's msgpack."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.serialization import msgpack_restore
from jaxtyping import Float

from common.reading import reading
from models import describe_config
from models.pixelcnnpp.model import PixelCNNPP
from models.pixelcnnpp.network import PixelCNNPPNetwork
from models.pixelcnnpp.stack import LEVELS
from models.pixelcnnpp.weight_norm import FoldedWeight, WeightNorm
from models.weights.checkpoint import Checkpoint, CheckpointError
from models.weights.importers.checks import agreed_config, common_length, refuse_others, take_entry

_RGB_SIZE = [32, 32]  # of a colour image, where no config says the size; a gray one's is the model's default


def import_pixelcnnpp(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """PixelCNN++ from ``weight_v``, ``weight_g`` and ``bias`` of each layer, by the modules' names.

    The shapes tell all of the architecture but the image's height and width, which come from ``expected``, or else are
    those of MNIST (gray) or CIFAR-10 (RGB).
    """
    source = str(path)
    state = _parameters(path)
    given = {key: value for key, value in expected.items() if value is not None}
    asked = describe_config("pixelcnnpp", agreed_config(source, {}, given))
    found = _architecture(state, asked["image_shape"] if "image_shape" in given else None)
    config = agreed_config(source, found, {key: asked[key] for key in given})
    model = PixelCNNPP(config, rngs=nnx.Rngs(0))
    names: set[str] = set()
    for layer in _layers(model.network):
        names |= _load(layer, state, source)
    refuse_others(state, names, source)
    return Checkpoint("pixelcnnpp", model, {"imported_from": path.name})


class _Layout(NamedTuple):
    """A kind of layer in the file."""

    module: str  # its own name, below that of the layer
    axes: tuple[int, ...]  # those of weight_v in the order of our kernels, whose last are inputs and outputs


# In all of them the lengths, weight_g, are along weight_v's first axis.
_CONV = _Layout("WNConv_0", (2, 3, 1, 0))
_GROW = _Layout("WNConvTranspose_0", (2, 3, 0, 1))
_DENSE = _Layout("WNDense_0", (1, 0))


class _Layer(NamedTuple):
    """One of our layers, and where its numbers are."""

    name: str
    layout: _Layout
    weight: WeightNorm | FoldedWeight
    is_skip: bool = False  # its inputs come out of concat_elu, from one source or two


def _layers(network: PixelCNNPPNetwork) -> Iterator[_Layer]:
    """All layers with their names in the file, where a module's kinds of children are each numbered in order of use.

    So going down, stage 0 is the coarsest level; and in a stage, vertical and horizontal blocks take turns.
    """
    yield _Layer("down_shifted_conv2d_0", _CONV, network.vertical_input.weight)
    yield _Layer("down_shifted_conv2d_1", _CONV, network.above_input.weight)
    yield _Layer("down_right_shifted_conv2d_0", _CONV, network.left_input.weight)
    for stack, kind, inputs, turn in (
        (network.vertical, "down_shifted", 2, 0),
        (network.horizontal, "down_right_shifted", 1, 1),
    ):
        for level in range(LEVELS - 1):
            yield _Layer(f"{kind}_conv2d_{inputs + level}", _CONV, stack.shrink[level].weight)
            yield _Layer(f"{kind}_deconv2d_{LEVELS - 2 - level}", _GROW, stack.grow[level].weight)
        stages = [(f"PixelCNNLayer_up_{level}", stack.up[level]) for level in range(LEVELS)]
        stages += [(f"PixelCNNLayer_down_{LEVELS - 1 - level}", stack.down[level]) for level in range(LEVELS)]
        for stage, blocks in stages:
            for index, block in enumerate(blocks):
                name = f"{stage}/gated_resnet_{2 * index + turn}"
                yield _Layer(f"{name}/{kind}_conv2d_0", _CONV, block.first.weight)
                yield _Layer(f"{name}/{kind}_conv2d_1", _CONV, block.second.weight)
                if block.skip is not None:
                    yield _Layer(f"{name}/nin_0", _DENSE, block.skip.weight, is_skip=True)
    yield _Layer("nin_0", _DENSE, network.output.weight)


def _load(layer: _Layer, state: Mapping[str, np.ndarray], source: str) -> set[str]:
    """Set a layer's weights. Returns the names of their entries. Raises CheckpointError."""
    name, axes, weight = f"{layer.name}/{layer.layout.module}", layer.layout.axes, layer.weight
    assert isinstance(weight, WeightNorm)
    ours = weight.v.shape
    shape = tuple(ours[axes.index(axis)] for axis in range(len(ours)))
    entries = {
        f"{name}/weight_v": shape,
        f"{name}/weight_g": (shape[0],) + (1,) * (len(shape) - 1),
        f"{name}/bias": weight.bias.shape,
    }
    v, g, bias = (take_entry(state, key, wanted, source) for key, wanted in entries.items())
    kernel = np.transpose(v, axes)
    weight.v.set_value(jnp.asarray(_source_by_source(kernel) if layer.is_skip else kernel, jnp.float32))
    weight.scale.set_value(jnp.asarray(g.reshape(-1), jnp.float32))
    weight.bias.set_value(jnp.asarray(bias, jnp.float32))
    return set(entries)


def _source_by_source(kernel: Float[np.ndarray, "I F"]) -> Float[np.ndarray, "I F"]:
    """A skip's kernel with the inputs in our order.

    The file's are concat_elu of all sources together, [a, b, -a, -b]; ours are concat_elu of one after the other,
    [a, -a, b, -b].
    """
    features = kernel.shape[1]
    return kernel.reshape(2, -1, features, features).swapaxes(0, 1).reshape(kernel.shape)


def _architecture(state: Mapping[str, np.ndarray], image_shape: list[int] | None) -> dict[str, Any]:
    """The architecture that the shapes tell, each option from all the entries that show it.

    The most common length counts: an entry of a wrong shape is then one among many right ones, and is found as such.
    """
    found: dict[str, Any] = {}
    filters = common_length(state, r".+/bias", 0)  # in each block one layer has twice as many
    if filters is not None:
        found["nr_filters"] = filters
    last: dict[str, int] = {}
    for key in state:
        if block := re.match(r"(PixelCNNLayer_up_[0-9])/gated_resnet_([0-9]{1,4})/", key):
            last[block[1]] = max(last.get(block[1], 0), int(block[2]))
    if last:
        found["nr_resnet"] = Counter(last.values()).most_common(1)[0][0] // 2 + 1
    inputs = common_length(state, r"down_(shifted_conv2d_[01]|right_shifted_conv2d_0)/WNConv_0/weight_v", 1)
    if inputs is None:
        return found
    channels = inputs - 1  # besides the channel of ones
    default = _RGB_SIZE if channels == 3 else list(PixelCNNPP.Config().image_shape[:2])
    found["image_shape"] = [*(default if image_shape is None else image_shape[:2]), channels]
    outputs = common_length(state, r"nin_0/WNDense_0/.+", 0)
    if outputs is not None:
        found["nr_logistic_mix"] = outputs // (3 if channels == 1 else 10)
    return found


def _parameters(path: Path) -> dict[str, np.ndarray]:
    """The file's arrays by their paths in the tree. Raises CheckpointError unless it holds nothing but numbers."""
    with reading(path, "is damaged, or not in flax's msgpack format", CheckpointError, why=False):
        tree = msgpack_restore(path.read_bytes())
    while isinstance(tree, dict) and isinstance(tree.get("params"), dict):  # variables, or a whole training's state
        tree = tree["params"]
    state: dict[str, np.ndarray] = {}
    folders = [("", tree)]
    while folders:
        name, node = folders.pop()
        if not isinstance(node, dict) or not all(isinstance(key, str) for key in node):
            raise CheckpointError(f"{path} is not a tree of parameters: expected arrays by name")
        for key, value in node.items():
            if isinstance(value, dict):
                folders.append((f"{name}{key}/", value))
                continue
            kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            if isinstance(kind, str) or not (np.issubdtype(kind, np.integer) or jnp.issubdtype(kind, jnp.floating)):
                raise CheckpointError(f"{path}: entry {name + key!r} holds {kind}; expected an array of numbers")
            state[name + key] = value
    return state
