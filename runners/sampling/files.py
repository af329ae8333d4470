"""Arrays of samplers in files, which have the batch first and the T equations as the model's grid says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from runners.config.arrays import open_arrays
from runners.config.schema import UsageError


def load_like(path: Path, key: str, like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that are named, shaped and typed as in ``like``; other arrays are passed over.

    A samples.npz of an earlier run will do. ``key`` is the config's that names the file. Raises UsageError: one
    sentence.
    """
    source = f"{key} {str(path)!r}"
    with open_arrays(path, source) as file:
        for name in like:
            if name not in file:
                raise UsageError(f"{source}: array {name!r} is missing; it has: {', '.join(file) or 'none'}")
        return {name: _checked(f"{source}: {name}", file[name], array) for name, array in like.items()}


def _checked(source: str, given: np.ndarray, like: np.ndarray) -> np.ndarray:
    if given.shape[1:] == like.shape[1:] and len(given) != len(like):
        raise UsageError(f"{source} is a batch of {len(given)}, the config says batch_size: {len(like)}")
    if given.shape != like.shape:
        raise UsageError(f"{source} has shape {given.shape}, expected {like.shape} (batch first)")
    if not np.issubdtype(given.dtype, np.number) or np.iscomplexobj(given):
        raise UsageError(f"{source} holds {given.dtype} values, expected {like.dtype}")
    with np.errstate(over="ignore"):
        noise = given.astype(like.dtype)
    if not np.all(np.isfinite(noise)):
        raise UsageError(f"{source} holds values that are not finite {like.dtype} numbers")
    return noise


def batch_first(array: Shaped[np.ndarray, "T B ..."], grid: tuple[int, ...]) -> Shaped[np.ndarray, "B ..."]:
    """States or noise as files hold them, (batch, *grid, ...)."""
    array = np.moveaxis(np.asarray(array), 1, 0)
    return array.reshape(len(array), *grid, *array.shape[2:])


def by_equation(array: Shaped[np.ndarray, "B ..."], grid: tuple[int, ...]) -> Shaped[np.ndarray, "T B ..."]:
    """The inverse of ``batch_first``."""
    return np.moveaxis(array.reshape(len(array), math.prod(grid), *array.shape[1 + len(grid) :]), 0, 1)
