"""Load weights, whoever wrote them: our own files, and foreign ones through an importer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.table import Table
from models.weights.checkpoint import Checkpoint, CheckpointError
from models.weights.native import load_native, stored_format
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

_NATIVE, _TORCH = ".safetensors", ".pth"
# Suffixes under which files of the same formats are found, in lower case; .tar ends .pth.tar.
_MEANS = {**dict.fromkeys((".pt", ".ckpt", ".tar", ".bin", ".th"), _TORCH), ".msgpack": ".flax"}
_OF_TORCH = (None, "pt")  # the formats in the metadata of .safetensors files with torch's tensors


def load_checkpoint(reference: str, expected: Mapping[str, Any] | None = None) -> Checkpoint:
    """Load by registry name or path.

    Args:
        reference: a name in a registry, a ``.safetensors`` file of ours, or a foreign file that an importer reads; the
            case of its suffix does not matter.
        expected: what a config's ``model`` says; options that it names must agree with the file's.

    Raises:
        CheckpointError: one sentence: missing file, damaged file, conflict, or an entry that is missing, left over or
            of the wrong shape.
    """
    path = locate(reference)
    expected = with_published(reference, expected or {})
    suffix = _MEANS.get(path.suffix.lower(), path.suffix.lower())
    model = expected.get("name")
    if suffix == _NATIVE:
        # Other programs save torch's weights in such files too.
        if f"{model}{_TORCH}" not in IMPORTERS or stored_format(path) not in _OF_TORCH:
            return load_native(path, expected)
        suffix = _TORCH
    kind = f"{model}{suffix}"
    if kind in IMPORTERS:
        return IMPORTERS[kind](path, expected)
    named = [Path(each).stem for each in IMPORTERS if Path(each).suffix == suffix]
    if model is None and named:
        choices = " or ".join(f"model: {{name: {name}}}" for name in named)
        raise CheckpointError(f"{path}: a {path.suffix} file does not tell whose weights it has; add {choices}")
    known = ", ".join(f"{Path(kind).suffix} with model name {Path(kind).stem}" for kind in IMPORTERS)
    raise CheckpointError(f"{path}: no importer for {path.suffix!r} with model name {model}; valid: {known}, {_NATIVE}")
