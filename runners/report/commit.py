"""The commit that the code is of, and which files differ from it.

Results do not count among those files: no run reads them, and one config after another is run at one commit.
"""

from __future__ import annotations

import subprocess

from common.paths import ROOT

_NOT_CODE = (":(exclude)plot_data", ":(exclude)notebooks", ":(exclude)benchmarks/*.json")


def git_commit() -> str | None:
    """The commit checked out, with "+" where tracked files differ from it; None outside a repository."""
    commit = _git("describe", "--always", "--exclude=*", "--abbrev=12")
    if commit is None:
        return None
    return commit.strip() + ("+" if _changes("--untracked-files=no") else "")


def changed_files() -> list[str] | None:
    """The files that differ from the commit checked out, those that git does not know yet too; None as above."""
    return _changes("--untracked-files=normal")


def _changes(untracked: str) -> list[str] | None:
    text = _git("status", "--porcelain", untracked, "--", ".", *_NOT_CODE)
    return None if text is None else [line[3:] for line in text.splitlines()]


def _git(*arguments: str) -> str | None:
    """What git says in the project's folder; None where it fails or is not there."""
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
