"""Noise from a file, so that a sample can be drawn again."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.names import unknown
from runners.config import UsageError


def load_noise(path: Path, like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that are named, shaped and typed as in ``like``; other arrays are passed over.

    A samples.npz of an earlier run will do. Raises UsageError: one sentence.
    """
    if not path.is_file():
        raise UsageError(f"noise_file {str(path)!r} does not exist")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"noise_file {str(path)!r} is not a readable .npz file: {error}") from None
    noise = {}
    for name, array in like.items():
        if name not in found:
            raise UsageError(f"noise_file {str(path)!r}: array {name!r} is missing; {unknown('array', name, found)}")
        given = found[name]
        if given.shape != array.shape:
            raise UsageError(
                f"noise_file {str(path)!r}: {name} has shape {given.shape}, expected {array.shape} (batch first)"
            )
        if not np.issubdtype(given.dtype, np.number) or not np.all(np.isfinite(given)):
            raise UsageError(f"noise_file {str(path)!r}: {name} holds values that are not finite numbers")
        noise[name] = given.astype(array.dtype)
    return noise
