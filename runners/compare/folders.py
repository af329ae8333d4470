"""The folders of results that are held against each other, as a command line names them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.names import unknown
from common.paths import CONFIGS, REFERENCE, RESULTS, user_path
from common.reading import reading
from runners.config.schema import UsageError

_FILE = "results.json"
_HEADER = {"schema", "runner", "config"}  # what makes a results.json a run's


@dataclass(frozen=True)
class RunResults:
    """What a run has left in a folder."""

    folder: Path
    record: dict[str, Any]  # results.json

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of one of its .npz files by name; none where it is not there. Raises UsageError."""
        path = self.folder / name
        if not path.is_file():
            return {}
        with reading(path, "is damaged, or not an .npz file", UsageError), np.load(path) as file:
            return {key: file[key] for key in file.files}

    @property
    def array_files(self) -> list[str]:
        """The names of its .npz files."""
        return sorted(path.name for path in self.folder.glob("*.npz"))


def chosen_folders(names: Sequence[str]) -> dict[str, list[Path]]:
    """The folders that are compared with each other, by what they have in common.

    A name is that of a folder of results or, where there is none, of a config: its shipped results and those of an own
    run. Folders of such folders are compared by the names that are in all of them.

    Raises UsageError where there are fewer than two, or a name is of neither kind.
    """
    folders = [folder for name in names for folder in _folders_of(name)]
    if len(folders) < 2:
        raise UsageError(f"--compare needs two folders of results or more, not {names[0] if names else 'none'} alone")
    holders = [not (folder / _FILE).is_file() for folder in folders]
    if not all(holders):
        return {folders[0].resolve().name: folders}
    inside = [{path.parent.name for path in folder.glob(f"*/{_FILE}")} for folder in folders]
    for folder, found in zip(folders, inside, strict=True):
        if not found:
            raise UsageError(f"{folder} holds no {_FILE} of a run")
    shared = sorted(set.intersection(*inside))
    if not shared:
        raise UsageError(f"{folders[0]} and {folders[1]} hold no results of the same name")
    return {name: [folder / name for folder in folders] for name in shared}


def read_alike(folders: Sequence[Path]) -> list[RunResults]:
    """The results in folders, which are of one kind. Raises UsageError where one is not, or holds none."""
    runs = [_read(folder) for folder in folders]
    for key in ("schema", "kind", "runner"):
        first = runs[0]
        for run in runs[1:]:
            if run.record.get(key) != first.record.get(key):
                raise UsageError(
                    f"{first.folder} and {run.folder} cannot be compared: {key} is {first.record.get(key)} in the "
                    f"first and {run.record.get(key)} in the second"
                )
    return runs


def _folders_of(name: str) -> list[Path]:
    folder = user_path(name)
    if folder.is_dir():
        return [folder]
    stem = name.removesuffix(".yml")
    configs = sorted(path.stem for path in CONFIGS.glob("*.yml"))
    if folder.exists() or stem not in {*configs, *(path.parent.name for path in RESULTS.glob(f"*/{_FILE}"))}:
        raise UsageError(unknown("folder of results", name, configs))
    both = [REFERENCE / stem, RESULTS / stem]
    for place in both:
        if not (place / _FILE).is_file():
            raise UsageError(f"{name}: {place} holds no {_FILE} of a run; expected the shipped one and one of your own")
    return both


def _read(folder: Path) -> RunResults:
    path = folder / _FILE
    if not path.is_file():
        raise UsageError(f"{folder} holds no {_FILE} of a run")
    with reading(path, "is not the record of a run", UsageError):
        record = json.loads(path.read_text(encoding="utf-8"))
        is_ours = isinstance(record, dict) and record.keys() >= _HEADER
    if not is_ours:
        raise UsageError(f"{path} is not the record of a run")
    return RunResults(folder, record)
