"""Arrays from files that users give."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from common.npz import open_npz
from runners.config.schema import UsageError


def open_arrays(path: Path, source: str) -> AbstractContextManager[Mapping[str, np.ndarray]]:
    """The arrays of an .npz file, each read when it is asked for.

    ``source`` begins the sentence of what is wrong. Raises UsageError, in the body too, where the file is not there or
    cannot be read.
    """
    return open_npz(path, source, UsageError)
