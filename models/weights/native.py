"""The native format of weights.

It is safetensors: one array for each variable of the module, named by its path; metadata holds the architecture (what
``model_config`` reads) and facts about the training, both as JSON. Masks and other booleans are stored eight to a byte.
Parameter paths come from attribute names and are part of the format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.errors import JaxRuntimeError
from safetensors.numpy import save

from common.errors import UserError
from common.files import write_atomically
from common.reading import cause
from models import RENAMED, build, describe_model
from models.weights.checkpoint import Checkpoint, CheckpointError, check_agreement, fitting, flat_state, restore_state
from models.weights.tensors import read_metadata, read_tensors

FORMAT = "trisolve-1"
UNREADABLE = "is not a readable safetensors file"
_PACKED = "packed_shapes"


def save_checkpoint(path: Path, name: str, model: Any, info: Mapping[str, Any], dtype: Any = np.float32) -> None:
    """Write a model atomically; floating-point arrays in ``dtype``.

    Raises:
        CheckpointError: a number is not finite, or not in ``dtype``; nothing is written then.
    """
    arrays, packed = {}, {}
    for key, value in flat_state(model).items():
        array = np.asarray(value)
        if array.dtype == np.bool_:
            packed[key] = list(array.shape)
            array = np.packbits(array)
        elif jnp.issubdtype(array.dtype, jnp.floating):
            array = fitting(array, dtype, f"{path.name} is not written: entry {key!r}")
        arrays[key] = np.ascontiguousarray(array)
    metadata = {
        "format": FORMAT,
        "architecture": json.dumps(describe_model(name, model)),
        "info": json.dumps(dict(info)),
        _PACKED: json.dumps(packed),
    }
    write_atomically(path, save(arrays, metadata))


def stored_format(path: Path) -> str | None:
    """The format that a .safetensors file says it has; None: none. Raises CheckpointError where it cannot be read."""
    return read_metadata(path, UNREADABLE, CheckpointError).get("format")


def load_native(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """Load a file of ours; options that ``expected`` names must agree with it. Raises CheckpointError."""
    metadata, arrays = read_tensors(path, UNREADABLE, CheckpointError)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a Trisolve checkpoint: its format is {metadata.get('format')!r}, not {FORMAT!r}; weights "
            "of torch are read with the model's name, such as model: {name: made}"
        )
    architecture, info, packed = (_mapping(metadata, key, path) for key in ("architecture", "info", _PACKED))
    architecture = {RENAMED.get(key, key): value for key, value in architecture.items()}
    check_agreement(str(path), architecture, expected)
    _refuse_code(str(path), architecture, expected)
    try:  # with the config's options, which agree: one that the model does not know is refused
        model = build(architecture | {key: value for key, value in expected.items() if value is not None}, seed=0)
    except UserError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (MemoryError, OverflowError, JaxRuntimeError) as error:  # of sizes that a damaged file may say
        raise CheckpointError(f"{path}: a model as large as its metadata says cannot be had ({cause(error)})") from None
    arrays |= {
        key: _unpacked(arrays[key], shape, f"{path}: entry {key!r}") for key, shape in packed.items() if key in arrays
    }
    restore_state(model, arrays, str(path))
    return Checkpoint(architecture["name"], model, info)


def _refuse_code(source: str, architecture: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError where the model is of a user's own file that no config names: weights run no code."""
    if architecture.get("path") is not None and expected.get("path") is None:
        file, name = architecture["path"], architecture.get("name")
        raise CheckpointError(
            f"{source} is of {name} in {file}, whose code runs only where the config says so: "
            f"model: {{path: {file}, name: {name}}}"
        )


def _mapping(metadata: Mapping[str, str], key: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(metadata[key])
    except (KeyError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is damaged: its metadata has no valid {key!r}")
    return value


def _unpacked(packed: np.ndarray, shape: Any, source: str) -> np.ndarray:
    """Booleans, stored eight to a byte, in their shape."""
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise CheckpointError(f"{source} has no valid shape in the metadata's {_PACKED!r}: {shape!s:.50}")
    count = math.prod(shape)
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise CheckpointError(
            f"{source} is {packed.dtype} of shape {packed.shape}; expected uint8 of shape {(-(-count // 8),)}"
        )
    return np.unpackbits(packed, count=count).reshape(shape).astype(bool)
