"""Load weights, whoever wrote them: our own files, and foreign ones through an importer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.table import Table
from models.weights.checkpoint import Checkpoint, CheckpointError
from models.weights.native import load_native
from models.weights.registry import locate, with_published

# Importers of foreign formats: the name of the model, then the suffix of the files that hold it.
IMPORTERS: Table[Callable[[Path, Mapping[str, Any]], Checkpoint]] = Table(
    "importer",
    {
        "made.pth": "models.weights.importers.made:import_made",
        "densenet.pth": "models.weights.importers.densenet:import_densenet",
        "pixelcnnpp.flax": "models.weights.importers.pixelcnnpp:import_pixelcnnpp",
        "wavenet.npz": "models.weights.importers.wavenet:import_wavenet",
    },
)


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
    expected = with_published(reference, expected or {})
    if path.suffix == ".safetensors":
        return load_native(path, expected)
    model = str(expected.get("name"))
    kind = f"{model}{path.suffix}"
    if kind not in IMPORTERS:
        known = ", ".join(f"{Path(kind).suffix} with model name {Path(kind).stem}" for kind in IMPORTERS)
        raise CheckpointError(
            f"{path}: no importer for {path.suffix!r} with model name {model}; valid: {known}, .safetensors"
        )
    return IMPORTERS[kind](path, expected)
