"""Weights in foreign formats, read without running anything that the file brings along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.weights.importers.densenet import import_densenet
from models.weights.importers.made import import_made
from models.weights.importers.pixelcnnpp import import_pixelcnnpp
from models.weights.importers.wavenet import import_wavenet
from models.weights.native import Checkpoint, CheckpointError

IMPORTERS: dict[tuple[str, str], Callable[[Path, Mapping[str, Any]], Checkpoint]] = {
    (".pth", "made"): import_made,
    (".pth", "densenet"): import_densenet,
    (".flax", "pixelcnnpp"): import_pixelcnnpp,
    (".npz", "wavenet"): import_wavenet,
}


def load_foreign(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """Load a foreign checkpoint by its suffix and the config's model name. Raises CheckpointError."""
    key = (path.suffix, str(expected.get("name")))
    if key not in IMPORTERS:
        known = ", ".join(f"{suffix} with model name {name}" for suffix, name in IMPORTERS)
        raise CheckpointError(
            f"{path}: no importer for {path.suffix!r} with model name {key[1]}; valid: {known}, .safetensors"
        )
    return IMPORTERS[key](path, expected)
