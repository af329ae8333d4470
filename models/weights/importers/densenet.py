"""DenseNet's published weights: torchvision's state dicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from models.densenet.model import DenseNet
from models.weights.checkpoint import Checkpoint, CheckpointError, flat_state, restore_state
from models.weights.importers.checks import agreed_config, common_length, refuse_others, take_entry
from models.weights.importers.torch_state import read_torch_state

_OLDER = re.compile(r"(.*\.denselayer\d+\.(?:norm|conv))\.([12])\.(\w+)")  # norm.1 for norm1
_COUNTER = ".num_batches_tracked"  # batches seen in training; older files have none
_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_IMAGE_SIZE = [224, 224]  # where no config says another


def import_densenet(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """DenseNet from a torchvision state dict, with its older names of entries or its newer ones.

    The shapes tell the architecture but for the image's height and width, which come from ``expected``, or else are
    224, and for pixel_mean and pixel_std, which are the published ones by default.
    """
    source = str(path)
    state = _with_newer_names(read_torch_state(path))
    given = {key: list(v) if isinstance(v, tuple) else v for key, v in expected.items() if v is not None}
    found = _architecture(state, given.get("image_shape", _IMAGE_SIZE)[:2], source)
    config = agreed_config(source, found, {"name": "densenet", **given})
    model = DenseNet(config, rngs=nnx.Rngs(0))
    current = flat_state(model)
    arrays: dict[str, np.ndarray] = {}
    names: set[str] = set()
    for entry in _entries(config.block_layers):
        array = take_entry(state, entry.theirs, entry.layout.shape(current[entry.ours].shape), source)
        arrays[entry.ours] = entry.layout.read(array)
        names.add(entry.theirs)
    refuse_others(state, names, source)
    restore_state(model, arrays, source)
    return Checkpoint("densenet", model, {"imported_from": path.name})


class _Layout(NamedTuple):
    """The layout of an array of ours in the file."""

    shape: Callable[[tuple[int, ...]], tuple[int, ...]]  # in the file, from that of ours
    read: Callable[[np.ndarray], np.ndarray]  # ours, from the file's


# torch has outputs before inputs, and both before the sides of a kernel.
_KERNEL = _Layout(lambda s: (s[3], s[2], s[0], s[1]), lambda a: np.transpose(a, (2, 3, 1, 0)))
_POINTWISE = _Layout(lambda s: (s[1], s[0], 1, 1), lambda a: a[:, :, 0, 0].T)
_DENSE = _Layout(lambda s: (s[1], s[0]), lambda a: a.T)
_VECTOR = _Layout(lambda s: s, lambda a: a)


class _Entry(NamedTuple):
    """An array of ours, and its name and layout in the file."""

    ours: str
    theirs: str
    layout: _Layout


def _entries(block_layers: tuple[int, ...]) -> Iterator[_Entry]:
    """All arrays of a network with an ImageNet stem. The file counts blocks, layers and transitions from 1."""
    yield _Entry("stem.conv.kernel", "features.conv0.weight", _KERNEL)
    yield from _norm("stem.norm", "features.norm0")
    for block, layers in enumerate(block_layers):
        for layer in range(layers):
            ours, theirs = f"blocks.{block}.{layer}", f"features.denseblock{block + 1}.denselayer{layer + 1}"
            yield from _norm(f"{ours}.norm1", f"{theirs}.norm1")
            yield _Entry(f"{ours}.conv1.kernel", f"{theirs}.conv1.weight", _POINTWISE)
            yield from _norm(f"{ours}.norm2", f"{theirs}.norm2")
            yield _Entry(f"{ours}.conv2.kernel", f"{theirs}.conv2.weight", _KERNEL)
    for i in range(len(block_layers) - 1):
        yield from _norm(f"transitions.{i}.norm", f"features.transition{i + 1}.norm")
        yield _Entry(f"transitions.{i}.conv.kernel", f"features.transition{i + 1}.conv.weight", _POINTWISE)
    yield from _norm("norm", "features.norm5")
    yield _Entry("kernel", "classifier.weight", _DENSE)
    yield _Entry("bias", "classifier.bias", _VECTOR)


def _norm(ours: str, theirs: str) -> Iterator[_Entry]:
    """The entries of a batch norm."""
    for name, their_name in _NORM.items():
        yield _Entry(f"{ours}.{name}", f"{theirs}.{their_name}", _VECTOR)


def _with_newer_names(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The entries under the names of today's files, without the counters of batches."""
    kept = {key: array for key, array in state.items() if not key.endswith(_COUNTER)}
    return {_OLDER.sub(r"\1\2.\3", key): array for key, array in kept.items()}


def _architecture(state: Mapping[str, np.ndarray], size: list[int], source: str) -> dict[str, Any]:
    """The architecture that names and shapes tell, each option from all entries that show it: see ``common_length``."""
    last: dict[int, int] = {}
    for key in state:
        if found := re.match(r"features\.denseblock([0-9]{1,4})\.denselayer([0-9]{1,4})\.", key):
            block, layer = int(found[1]), int(found[2])
            last[block] = max(last.get(block, 0), layer)
    lengths = {
        "growth_rate": common_length(state, r"features\.denseblock.*\.conv2\.weight", 0),
        "num_init_features": common_length(state, r"features\.(conv0|norm0)\..*", 0),
        "num_classes": common_length(state, r"classifier\..*", 0),
        "bottleneck": common_length(state, r"features\.denseblock.*\.conv1\.weight", 0),
        "channels": common_length(state, r"features\.conv0\.weight", 1),
    }
    counted = max(sum(last.values()), *last) if last else 0  # by names, which may say anything
    if not 0 < counted <= len(state) or any(length is None for length in lengths.values()):
        raise CheckpointError(
            f"{source} is not a torchvision DenseNet: expected entries features.conv0, "
            f"features.denseblock1.denselayer1.conv1, ..., classifier; found {', '.join(sorted(state)[:5]) or 'none'}"
        )
    bottleneck, channels = lengths.pop("bottleneck"), lengths.pop("channels")
    return {
        **lengths,
        "stem": "imagenet",
        "block_layers": [last.get(block, 1) for block in range(1, max(last) + 1)],
        "bn_size": max(1, (bottleneck or 0) // (lengths["growth_rate"] or 1)),
        "image_shape": [*size, channels],
    }
