"""Where the project's own folders lie, whichever folder it is run from."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
CHECKPOINTS = ROOT / "checkpoints"  # the shipped weights and their registry
RESULTS = ROOT / "plot_data"  # a run's results go to a folder here, unless --out says otherwise
REFERENCE = RESULTS / "reference"  # the results of the shipped configs, a folder each
RUNS = ROOT / "runs"  # the state of trainings that are not finished


def user_path(text: str | Path) -> Path:
    """The path that a user wrote: ``~`` and ``~name`` are homes; what is relative is so to the current folder.

    Raises UserError where there is no such home, and where no file can have such a name.
    """
    try:
        if b"\0" in os.fsencode(text):
            raise UserError(f"{str(text)!r}: the name of a file cannot hold the character NUL")
    except UnicodeEncodeError:
        raise UserError(f"{str(text)!r}: the name of a file cannot hold half of a pair of surrogates") from None
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(
            f"{str(text)!r}: the home folder that it begins with is not known; write the whole path"
        ) from None
