"""Trained weights: save, load, and the registry of what ships with the repository.

The format is safetensors: one array for each variable of the module, named by its path; metadata holds the
architecture (what ``model_config`` reads) and facts about the training, both as JSON. Masks and other booleans are
stored eight to a byte. Parameter paths come from attribute names and are part of the format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from common.paths import CHECKPOINTS
from models import RENAMED, ModelError, describe_config, model_class, model_config
from models.weights.downloads import downloaded, downloads

FORMAT = "trisolve-1"
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
    """The file that a registry's name or a path means. Raises CheckpointError with the nearest name."""
    entries, published = registry(), downloads()
    if reference in entries:
        return CHECKPOINTS / str(entries[reference]["file"])
    if reference in published:
        found = downloaded(published[reference])
        if found is None:
            raise CheckpointError(
                f"checkpoint {reference} is not downloaded; run: python main.py --download {reference}"
            )
        return found
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    if reference and path.is_dir():
        raise CheckpointError(f"checkpoint {reference!r} is a folder; expected a file")
    if path.suffix or len(path.parts) > 1:
        raise CheckpointError(f"checkpoint file {reference!r} does not exist; shipped: {', '.join(entries) or 'none'}")
    raise CheckpointError(unknown("checkpoint", reference, [*entries, *published]))


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
        reference: a name in a registry, a ``.safetensors`` file of ours, or a foreign file that an importer reads.
        expected: what a config's ``model`` says; options that it names must agree with the file's.

    Raises:
        CheckpointError: one sentence: missing file, damaged file, conflict, or an entry that is missing, left over or
            of the wrong shape.
    """
    path = locate(reference)
    expected = _with_published(reference, expected or {})
    if path.suffix == ".safetensors":
        return _load_native(path, expected)
    from models.weights.importers_table import load_foreign  # it needs torch for some formats

    return load_foreign(path, expected)


def flat_state(model: Any) -> dict[str, jax.Array]:
    """Every variable of a module by its dotted path."""
    return {".".join(map(str, path)): variable[...] for path, variable in nnx.to_flat_state(nnx.state(model))}


def restore_state(model: Any, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Set every variable of ``model`` from ``arrays``. Raises CheckpointError naming an entry that does not fit."""
    wanted = dict(nnx.to_flat_state(nnx.state(model)))
    names = {".".join(map(str, path)): variable for path, variable in wanted.items()}
    for key in sorted(names.keys() - arrays.keys()):
        raise CheckpointError(f"{source}: entry {key!r} is missing; expected shape {names[key][...].shape}")
    for key in sorted(arrays.keys() - names.keys()):
        raise CheckpointError(f"{source}: unexpected entry {key!r} of shape {arrays[key].shape}")
    for key, variable in names.items():
        found, current = arrays[key], variable[...]
        if found.shape != current.shape:
            raise CheckpointError(f"{source}: entry {key!r} has shape {found.shape}; expected {current.shape}")
        variable[...] = jnp.asarray(found, current.dtype)
    if hasattr(model, "prepare"):
        try:
            model.prepare()
        except ValueError as error:  # masks that the model cannot work with
            raise CheckpointError(f"{source}: {error}") from None


def check_agreement(source: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a config asks for another architecture than a file holds."""
    for key, value in expected.items():
        if value is not None and key in found and found[key] != value:
            raise CheckpointError(f"{source}: the config says {key}: {value}, the checkpoint {key}: {found[key]}")


def _with_published(reference: str, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config says, and with it what the registry of downloads knows of the architecture."""
    entry = None if reference in registry() else downloads().get(reference)
    if entry is None:
        return expected
    if isinstance(entry.model, str):
        raise CheckpointError(f"checkpoint {reference} is of {entry.model}, a model that cannot be loaded yet")
    check_agreement(f"checkpoint {reference}", entry.model, expected)
    return {**entry.model, **{key: value for key, value in expected.items() if value is not None}}


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
    return Checkpoint(architecture["name"], model, info, path)


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
