"""A model with weights, and a model's variables by name: what formats and importers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from common.errors import UserError


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
