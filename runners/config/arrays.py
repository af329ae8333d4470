"""Arrays from files that users give."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from common.errors import UserError
from runners.config.schema import UsageError


@contextmanager
def open_arrays(path: Path, source: str) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of an .npz file, each read when it is asked for.

    ``source`` begins the sentence of what is wrong. Raises UsageError, in the body too, where the file is not there or
    cannot be read.
    """
    if not path.is_file():
        raise UsageError(
            f"{source} is a folder; expected an .npz file" if path.is_dir() else f"{source} does not exist"
        )
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{source} is damaged, or not an .npz file")
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{source} is not readable: {error}") from None
