"""Which weights there are by name: those that ship with the repository, and published ones that were downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from common.files import write_atomically
from common.names import unknown
from common.paths import CHECKPOINTS, user_path
from models.weights.checkpoint import CheckpointError, check_agreement
from models.weights.downloads import downloaded, downloads


def registry() -> dict[str, dict[str, Any]]:
    """The shipped checkpoints by name: file, dataset, bits_per_dim, how to retrain."""
    entries: dict[str, dict[str, Any]] = json.loads((CHECKPOINTS / "registry.json").read_text())
    return entries


def ship(name: str, entry: Mapping[str, Any], content: bytes, check: Callable[[], None]) -> None:
    """Write a file of weights where the repository ships them, and enter it in the registry, each atomically.

    Another process that ships at the same time waits, so that neither's entry is lost. ``check`` is called when no
    other can change the registry any more; nothing is written if it raises.
    """
    with FileLock(CHECKPOINTS / "registry.lock"):
        check()
        entries = {**registry(), name: dict(entry)}
        write_atomically(CHECKPOINTS / str(entry["file"]), content)
        text = json.dumps(dict(sorted(entries.items())), indent=2)
        write_atomically(CHECKPOINTS / "registry.json", (text + "\n").encode())


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
    path = user_path(reference)
    if path.is_file():
        return path
    if reference and path.is_dir():
        raise CheckpointError(f"checkpoint {reference!r} is a folder; expected a file")
    if path.suffix or len(path.parts) > 1:
        raise CheckpointError(f"checkpoint file {reference!r} does not exist; shipped: {', '.join(entries) or 'none'}")
    raise CheckpointError(unknown("checkpoint", reference, [*entries, *published]))


def with_published(reference: str, expected: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a config together with those that the registry of downloads knows of the architecture."""
    entry = None if reference in registry() else downloads().get(reference)
    if entry is None:
        return expected
    if isinstance(entry.model, str):
        raise CheckpointError(f"checkpoint {reference} is of {entry.model}, a model that cannot be loaded yet")
    check_agreement(f"checkpoint {reference}", entry.model, expected)
    return {**entry.model, **{key: value for key, value in expected.items() if value is not None}}
