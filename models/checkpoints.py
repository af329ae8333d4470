"""Trained weights: save, load, and the registry of what ships with the repository.

The format is safetensors: one array for each variable of the module, named by its path; metadata holds the
architecture (what ``model_config`` reads) and facts about the training, both as JSON. Masks and other booleans are
stored eight to a byte. Parameter paths come from attribute names and are part of the format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from common.files import write_atomically
from common.names import unknown
from models import ModelError, describe_config, model_class, model_config

FORMAT = "trisolve-1"
CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints"
_PACKED = "packed_shapes"


class CheckpointError(ValueError):
    """A checkpoint that is not there, not readable, or not of the model that was asked for."""


@dataclass(frozen=True)
class Checkpoint:
    """A model with its trained weights."""

    name: str  # the model's name in MODELS
    model: Any
    info: dict[str, Any]  # facts about the training: dataset, bits/dim, ...
    path: Path


def registry() -> dict[str, dict[str, Any]]:
    """The shipped checkpoints by name: file, dataset, bits_per_dim, how to retrain."""
    entries: dict[str, dict[str, Any]] = json.loads((CHECKPOINTS / "registry.json").read_text())
    return entries


def locate(reference: str) -> Path:
    """The file that a registry name or a path means. Raises CheckpointError with the nearest name."""
    entries = registry()
    if reference in entries:
        return CHECKPOINTS / str(entries[reference]["file"])
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise CheckpointError(f"checkpoint file {reference!r} does not exist; shipped: {', '.join(entries) or 'none'}")
    raise CheckpointError(unknown("checkpoint", reference, entries))


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


def load_checkpoint(reference: str, expected: Mapping[str, Any] | None = None) -> Checkpoint:
    """Load by registry name or path.

    Args:
        reference: a name in the registry, a ``.safetensors`` file of ours, or a foreign file that an importer reads.
        expected: what a config's ``model`` says; options that it names must agree with the file's.

    Raises:
        CheckpointError: one sentence: missing file, damaged file, conflict, or an entry that is missing, left over or
            of the wrong shape.
    """
    path = locate(reference)
    if path.suffix == ".safetensors":
        return _load_native(path, expected or {})
    from models.importers import load_foreign  # it needs torch for some formats

    return load_foreign(path, expected or {})


def flat_state(model: Any) -> dict[str, jax.Array]:
    """Every variable of a module by its dotted path."""
    return {".".join(map(str, path)): variable[...] for path, variable in nnx.to_flat_state(nnx.state(model))}


def restore_state(model: Any, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Set every variable of ``model`` from ``arrays``. Raises CheckpointError naming an entry that does not fit."""
    wanted = dict(nnx.to_flat_state(nnx.state(model)))
    names = {".".join(map(str, path)): variable for path, variable in wanted.items()}
    for key in names.keys() - arrays.keys():
        raise CheckpointError(f"{source}: entry {key!r} is missing; expected shape {names[key][...].shape}")
    for key in arrays.keys() - names.keys():
        raise CheckpointError(f"{source}: unexpected entry {key!r} of shape {arrays[key].shape}")
    for key, variable in names.items():
        found, current = arrays[key], variable[...]
        if found.shape != current.shape:
            raise CheckpointError(f"{source}: entry {key!r} has shape {found.shape}; expected {current.shape}")
        variable[...] = jnp.asarray(found, current.dtype)
    if hasattr(model, "prepare"):
        model.prepare()


def check_agreement(source: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a config asks for another architecture than a file holds."""
    for key, value in expected.items():
        if value is not None and key in found and found[key] != value:
            raise CheckpointError(f"{source}: the config says {key}: {value}, the checkpoint {key}: {found[key]}")


def _load_native(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
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
    architecture = json.loads(metadata["architecture"])
    check_agreement(str(path), architecture, expected)
    for key, shape in json.loads(metadata[_PACKED]).items():
        if key in arrays:
            bits = np.unpackbits(arrays[key], count=int(np.prod(shape)))
            arrays[key] = bits.reshape(shape).astype(bool)
    name = architecture["name"]
    try:
        config = model_config(architecture)
    except ModelError as error:
        raise CheckpointError(f"{path}: {error}") from None
    model = model_class(name)(config, rngs=nnx.Rngs(0))
    restore_state(model, arrays, str(path))
    return Checkpoint(name, model, json.loads(metadata["info"]), path)
