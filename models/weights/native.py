"""Our own format of weights.

It is safetensors: one array for each variable of the module, named by its path; metadata holds the architecture (what
``model_config`` reads) and facts about the training, both as JSON. Masks and other booleans are stored eight to a byte.
Parameter paths come from attribute names and are part of the format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from common.files import write_atomically
from models import RENAMED, ModelError, describe_config, model_class, model_config
from models.weights.checkpoint import Checkpoint, CheckpointError, check_agreement, flat_state, restore_state

FORMAT = "trisolve-1"
_PACKED = "packed_shapes"


def save_checkpoint(path: Path, name: str, model: Any, info: Mapping[str, Any], dtype: Any = np.float32) -> None:
    """Write a model atomically; floating-point arrays in ``dtype``."""
    arrays, packed = {}, {}
    for key, value in flat_state(model).items():
        array = np.asarray(value)
        if array.dtype == np.bool_:
            packed[key] = list(array.shape)
            array = np.packbits(array)
        elif np.issubdtype(array.dtype, np.floating):
            array = array.astype(dtype)
        arrays[key] = np.ascontiguousarray(array)
    metadata = {
        "format": FORMAT,
        "architecture": json.dumps(describe_config(name, model.config)),
        "info": json.dumps(dict(info)),
        _PACKED: json.dumps(packed),
    }
    write_atomically(path, save(arrays, metadata))


def load_native(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """Load a file of ours; options that ``expected`` names must agree with it. Raises CheckpointError."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a Trisolve checkpoint: its format is {metadata.get('format')!r}, not {FORMAT!r}"
        )
    architecture, info, packed = (_mapping(metadata, key, path) for key in ("architecture", "info", _PACKED))
    architecture = {RENAMED.get(key, key): value for key, value in architecture.items()}
    check_agreement(str(path), architecture, expected)
    try:  # with the config's options, which agree: one that the model does not know is refused
        config = model_config(architecture | {key: value for key, value in expected.items() if value is not None})
    except ModelError as error:
        raise CheckpointError(f"{path}: {error}") from None
    model = model_class(architecture["name"])(config, rngs=nnx.Rngs(0))
    arrays |= {
        key: _unpacked(arrays[key], shape, f"{path}: entry {key!r}") for key, shape in packed.items() if key in arrays
    }
    restore_state(model, arrays, str(path))
    return Checkpoint(architecture["name"], model, info)


def _mapping(metadata: Mapping[str, str], key: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(metadata[key])
    except (KeyError, json.JSONDecodeError):
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is damaged: its metadata has no valid {key!r}")
    return value


def _unpacked(packed: np.ndarray, shape: Sequence[int], source: str) -> np.ndarray:
    """Booleans, stored eight to a byte, in their shape."""
    count = int(np.prod(shape))
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise CheckpointError(
            f"{source} is {packed.dtype} of shape {packed.shape}; expected uint8 of shape {(-(-count // 8),)}"
        )
    return np.unpackbits(packed, count=count).reshape(shape).astype(bool)
