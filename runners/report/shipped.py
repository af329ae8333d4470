"""Where the results of a config are: in the folder of a user's own run where there is one, else in that which ships."""

from __future__ import annotations

import json
from pathlib import Path

from common.paths import REFERENCE, RESULTS


def folder_of(name: str, inside: Path = RESULTS) -> Path:
    """The folder of a config's results among those in ``inside``; that of the shipped ones, which may not exist."""
    own = inside / name
    return own if (own / "results.json").is_file() else inside / REFERENCE.name / name


def results_of(name: str, inside: Path = RESULTS) -> Path:
    """The same folder, once a line is printed that says whose results they are, and at which commit they were made."""
    folder = folder_of(name, inside)
    commit = json.loads((folder / "results.json").read_text(encoding="utf-8")).get("git_commit")
    whose = "shipped with the repository" if folder.parent.name == REFERENCE.name else "your own run"
    shown = Path(inside.name, folder.relative_to(inside)).as_posix()
    print(f"results: {shown} ({whose}, {f'commit {commit}' if commit else 'no commit is known'})")
    return folder
