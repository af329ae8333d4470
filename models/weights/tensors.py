"""Files of safetensors, read whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import safe_open

from common.reading import reading

_READ = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64", "C64"}


def read_metadata(path: Path, complaint: str, error: Callable[[str], Exception]) -> dict[str, str]:
    """A file's metadata alone. Raises ``error`` with ``complaint`` as ``common.reading.reading``."""
    with reading(path, complaint, error), safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


def read_tensors(
    path: Path, complaint: str, error: Callable[[str], Exception]
) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """A file's metadata and its arrays by name. Raises ``error`` with ``complaint`` as ``common.reading.reading``."""
    with reading(path, complaint, error), safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata() or {})
        kinds = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 (not a mapping)
        arrays = {key: file.get_tensor(key) for key, kind in kinds.items() if kind in _READ}
    for key, kind in kinds.items():
        if key not in arrays:
            raise error(f"{path}: entry {key!r} holds {kind}, a type that is not read")
    return metadata, arrays
