"""Arrays by name in .npz files."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.reading import reading

_SUFFIX = ".npy"
# The end of a zip archive without a comment, and its number of members.
_MAGIC, _END = b"PK\5\6", struct.Struct("<4s6xH10x")
_ELSEWHERE = 0xFFFF  # in the archive's zip64 part


@contextmanager
def open_npz(path: Path, source: str, error: type[UserError]) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of an .npz file, each read when it is asked for.

    numpy's own reader stops where an array ends, and so may miss that a checksum is wrong; here members are read whole.
    ``source`` begins the sentence of what is wrong. Raises ``error``, in the body too, where the file is not there or
    cannot be read.
    """
    if path.is_dir():
        raise error(f"{source} is a folder; expected an .npz file")
    if not path.is_file():
        raise error(f"{source} does not exist")
    with reading(path, "is damaged, or not an .npz file", error, source=source, why=False):
        archive = _open(path)
    with archive:
        yield _Arrays(archive, partial(reading, path, "is not readable", error, source=source))


def _open(path: Path) -> zipfile.ZipFile:
    """The archive. Raises BadZipFile, also where it says that it has another number of members than are found."""
    with path.open("rb") as file:
        file.seek(-_END.size, io.SEEK_END)
        magic, declared = _END.unpack(file.read())
    archive = zipfile.ZipFile(path)
    if magic == _MAGIC and declared not in (len(archive.infolist()), _ELSEWHERE):
        archive.close()
        raise zipfile.BadZipFile(f"{declared} members should be there, {len(archive.infolist())} are found")
    return archive


class _Arrays(Mapping[str, np.ndarray]):
    """The arrays of an open archive."""

    def __init__(self, archive: zipfile.ZipFile, guard: Callable[[], AbstractContextManager[None]]) -> None:
        self._archive, self._guard = archive, guard
        self._members = {
            name.removesuffix(_SUFFIX): name for name in archive.namelist()
        }  # others are refused when read

    def __getitem__(self, name: str) -> np.ndarray:
        member = self._members[name]
        with self._guard():
            content = io.BytesIO(self._archive.read(member))
            array: np.ndarray = np.lib.format.read_array(content, allow_pickle=False)
            if content.read(1):
                raise ValueError(f"{member} holds more than its header says")
        return array

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)
