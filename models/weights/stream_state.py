"""States of streams and of generation on disk: stop at any sample, go on from it later with the same outputs.

The format is safetensors: one array for each leaf, named by its path in the state. Metadata says whose state it is, by
a digest of the model: queues of one network mean nothing to another, even where their shapes agree.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save

from common.errors import UserError
from common.files import write_atomically
from models import RENAMED
from models.weights.checkpoint import flat_state
from models.weights.tensors import read_tensors

FORMAT = "trisolve-state-1"

S = TypeVar("S")


class StateError(UserError):
    """A state file that is not there, not readable, or not of the network that is to go on from it."""


def save_state(path: Path, state: Any, model: Any) -> None:
    """Write a state of ``model``'s network atomically: a StreamState, a Generation or any pytree of arrays.

    Raises StateError where it holds NaN or infinity, with the file as it was.
    """
    arrays = {name: np.array(_data(leaf), order="C") for name, leaf in _leaves(state).items()}
    for name, array in arrays.items():
        _check_finite(f"{path} was not written", name, array)
    write_atomically(path, save(arrays, {"format": FORMAT, "model": digest(model)}))


def load_state(path: Path, like: S, model: Any) -> S:
    """The state in a file, bit for bit.

    Args:
        path: what ``save_state`` wrote.
        like: a state of the same kind and batch size, for example the one before the first step.
        model: whose network goes on from it.

    Raises:
        StateError: one sentence: missing file, damaged file, another network's state, or an entry that is missing, left
            over or of the wrong shape or type.
    """
    metadata, arrays = _read(path)
    if metadata.get("format") != FORMAT:
        raise StateError(f"{path} holds no saved state: its format is {metadata.get('format')!r}, not {FORMAT!r}")
    if metadata.get("model") != digest(model):
        raise StateError(f"{path} is the state of another network, or of one with other weights")
    wanted = _leaves(like)
    for name in sorted(wanted.keys() - arrays.keys()):
        raise StateError(f"{path}: entry {name!r} is missing; expected {_kind(_data(wanted[name]))}")
    for name in sorted(arrays.keys() - wanted.keys()):
        raise StateError(f"{path}: unexpected entry {name!r}, {_kind(arrays[name])}")
    for name, leaf in wanted.items():
        if _kind(arrays[name]) != _kind(_data(leaf)):
            raise StateError(f"{path}: entry {name!r} is {_kind(arrays[name])}; expected {_kind(_data(leaf))}")
        _check_finite(str(path), name, arrays[name])
    restored = [_leaf(arrays[name], leaf) for name, leaf in wanted.items()]
    state: S = jax.tree.unflatten(jax.tree.structure(like), restored)
    return state


def digest(model: Any) -> str:
    """A SHA-256 of a model's architecture and weights."""
    first_names = {new: old for old, new in RENAMED.items()}  # so that states saved before a renaming stay valid
    options = {first_names.get(key, key): value for key, value in dataclasses.asdict(model.config).items()}
    described = {"kind": type(model).__name__, **options}
    sha = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, value in sorted(flat_state(model).items()):
        array = np.array(value, order="C")
        sha.update(f"{name} {_kind(array)}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    if not path.is_file():
        is_folder = path.is_dir()
        raise StateError(f"state file {str(path)!r} {'is a folder' if is_folder else 'does not exist'}")
    return read_tensors(path, "is damaged, or no safetensors file", StateError)


def _check_finite(source: str, name: str, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise StateError(f"{source}: entry {name!r} holds NaN or infinity; the state is of no use")


def _leaves(state: Any) -> dict[str, Any]:
    """Leaves by their dotted paths, in the order of the tree."""
    found, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in found}


def _data(leaf: Any) -> np.ndarray:
    """A leaf as numbers; of a random key those that it is made of."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _leaf(array: np.ndarray, like: Any) -> Any:
    value = jnp.asarray(array)
    return jax.random.wrap_key_data(value, impl=jax.random.key_impl(like)) if _is_key(like) else value


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"
