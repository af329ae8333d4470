"""A model with weights, and its variables by name, which all formats and importers deal in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.errors import UserError
from models.capabilities import Prepared


class CheckpointError(UserError):
    """A checkpoint that is not there, not readable, or not of the model that was asked for."""


@dataclass(frozen=True)
class Checkpoint:
    """A model with its weights."""

    name: str  # the model's name in MODELS
    model: Any
    info: dict[str, Any]  # what is known of the weights: how they were trained and how good they are, or how drawn
    trained: bool = True  # False: random weights


def flat_state(model: Any) -> dict[str, jax.Array]:
    """Every variable of a module by its dotted path."""
    return {".".join(map(str, path)): variable[...] for path, variable in nnx.to_flat_state(nnx.state(model))}


def digest(model: Any) -> str:
    """A SHA-256 of all variables of a module with their names and types, whatever file they came in."""
    found = hashlib.sha256()
    for name, array in sorted(flat_state(model).items()):
        found.update(f"{name} {array.dtype} {array.shape} ".encode() + np.asarray(array).tobytes())
    return found.hexdigest()


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
        variable[...] = jnp.asarray(fitting(found, current.dtype, f"{source}: entry {key!r}"))
    if isinstance(model, Prepared):
        try:
            model.prepare()
        except ValueError as error:  # masks that the model cannot work with
            raise CheckpointError(f"{source}: {error}") from None


def fitting(array: np.ndarray, dtype: Any, source: str) -> np.ndarray:
    """The same numbers as ``dtype``. Raises CheckpointError where they are no finite real ones or would change.

    What a floating-point type rounds is no change.
    """
    floating = jnp.issubdtype(dtype, jnp.floating)
    kinds = (jnp.floating, jnp.integer) if floating else (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        raise CheckpointError(f"{source} holds {array.dtype}; expected real numbers")
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    bad = ~np.isfinite(converted) if floating else converted != array
    if not bad.any():
        return converted
    worst, wanted = array[bad][0], np.dtype(dtype)
    if not np.isfinite(worst):
        raise CheckpointError(f"{source} holds {worst}; weights must be finite")
    raise CheckpointError(
        f"{source} holds {worst}" + ("; expected 0 and 1" if wanted.kind == "b" else f", beyond {wanted}")
    )


def check_agreement(source: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise CheckpointError where a config asks for another architecture than a file holds.

    The ``path`` of a user's own model may differ: his file may have moved.
    """
    for key, value in expected.items():
        if key != "path" and value is not None and key in found and found[key] != value:
            raise CheckpointError(f"{source}: the config says {key}: {value}, the checkpoint {key}: {found[key]}")
