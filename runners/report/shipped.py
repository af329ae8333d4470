"""The results of a config: where they are, a user's own or else those that ship, and which shipped rows converged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def converged(name: str) -> list[dict[str, Any]]:
    """The rows of a config's shipped comparison whose solvers converged; of a training those before it."""
    record = json.loads((REFERENCE / name / "results.json").read_text(encoding="utf-8"))
    rows = [row for row in record.get("rows", ()) if row.get("phase", "start") == "start"]
    return [row for row in rows if row.get("status") == "converged"]
