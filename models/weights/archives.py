"""Single files out of zip and tar archives that nobody vouches for.

The bytes of one member are copied to a path that the caller chose: names, links, modes and owners in the archive decide
nothing about where and what is written. An archive that looks made to do harm is refused all the same.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, cast

_CHUNK = 2**20
_LARGEST_READ = 2**22  # tarfile reads long names whole: no honest one comes near
_FLOOR = 2**24  # bytes that an archive may unpack to whatever its own size: tiny ones of padding shrink a lot
_LISTED = 10  # names in a message
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


class ArchiveError(ValueError):
    """An archive that is damaged, looks made to do harm, or lacks what was asked for: one sentence."""


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits on what an archive may hold."""

    members: int = 100_000
    member_bytes: int = 2**33
    total_bytes: int = 2**36
    ratio: int = 200  # of bytes unpacked to bytes packed


@dataclass(frozen=True)
class _Member:
    name: str
    size: int  # as the archive declares it
    packed: int
    is_file: bool  # neither a link, nor a device, nor a sparse file
    open: Callable[[], IO[bytes]]


class Archive:
    """An open archive whose members have been listed and found harmless."""

    def __init__(self, members: Sequence[_Member], limits: ArchiveLimits) -> None:
        self._members, self._limits = members, limits

    def extract(self, patterns: Sequence[str], target: Path) -> str:
        """Copy the one file that the first fitting pattern means to ``target``, which must not exist.

        A pattern fits the end of a member's path, folder by folder: ``a.txt`` and ``docs/*.txt`` fit ``x/docs/a.txt``.

        Returns the member's name. Raises ArchiveError, and leaves no ``target``, where no pattern fits, one fits
        several members, or the member is damaged, too large or no plain file.
        """
        member = self._find(patterns)
        if not member.is_file:
            raise ArchiveError(f"member {member.name!r} is a link or a special file; expected a plain one")
        largest = min(self._limits.member_bytes, max(_FLOOR, self._limits.ratio * member.packed))
        if member.size > largest:
            raise ArchiveError(f"member {member.name!r} unpacks to {member.size} bytes; {largest} are allowed at most")
        try:
            with target.open("xb") as file:
                _copy(member, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return member.name

    def _find(self, patterns: Sequence[str]) -> _Member:
        for pattern in patterns:
            found = [member for member in self._members if PurePosixPath(member.name).match(pattern)]
            if len(found) > 1:
                names = ", ".join(repr(member.name) for member in found[:_LISTED])
                raise ArchiveError(f"{len(found)} members fit {pattern}: {names}; expected one")
            if found:
                return found[0]
        suffix = PurePosixPath(patterns[0]).suffix
        near = [repr(member.name) for member in self._members if member.name.endswith(suffix)][:_LISTED]
        raise ArchiveError(
            f"none of the archive's {len(self._members)} files fits {' or '.join(patterns)}; "
            f"those that end in {suffix}: {', '.join(near) or 'none'}"
        )


@contextmanager
def open_archive(path: Path, limits: ArchiveLimits | None = None) -> Iterator[Archive]:
    """Open a zip or tar archive, packed by gzip, bz2, xz or not. Raises ArchiveError."""
    limits = limits or ArchiveLimits()
    with ExitStack() as stack:
        with _reading("the archive"):
            members = _zip_members(path, limits, stack) if _head(path, b"PK") else _tar_members(path, limits, stack)
        yield Archive([member for member in members if not _is_shadow(member.name)], limits)


def _zip_members(path: Path, limits: ArchiveLimits, stack: ExitStack) -> list[_Member]:
    archive = stack.enter_context(zipfile.ZipFile(path))
    total, members = 0, list[_Member]()
    for info in archive.infolist():
        total += info.file_size
        _check(info.filename, len(members), total, limits)
        if not info.is_dir():
            is_file = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            opened = partial(archive.open, info)
            members.append(_Member(info.filename, info.file_size, info.compress_size, is_file, opened))
    return members


def _tar_members(path: Path, limits: ArchiveLimits, stack: ExitStack) -> list[_Member]:
    opener = next((opener for magic, opener in _COMPRESSED.items() if _head(path, magic)), lambda path: path.open("rb"))
    largest = min(limits.total_bytes, max(_FLOOR, limits.ratio * path.stat().st_size))
    stream = _Bounded(stack.enter_context(opener(path)), largest)
    try:
        archive = stack.enter_context(tarfile.TarFile(fileobj=cast(IO[bytes], stream)))
    except tarfile.ReadError:
        raise ArchiveError("the file is neither a zip nor a tar archive") from None
    total, members = 0, list[_Member]()
    for count, info in enumerate(archive):
        total += info.size
        _check(info.name, count, total, limits)
        if not info.isdir():
            is_file = info.isreg() and not info.issparse()
            opened = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))  # never None for a file
            members.append(_Member(info.name, info.size, info.size, is_file, opened))
    return members


class _Bounded:
    """A stream that unpacks so many bytes and no more, and none of them in large pieces."""

    def __init__(self, stream: io.BufferedIOBase, largest: int) -> None:
        self._stream, self._largest = stream, largest

    def read(self, size: int) -> bytes:
        """Read ``size`` bytes, which tarfile always says."""
        if not 0 <= size <= _LARGEST_READ:
            raise ArchiveError("a member's header in the archive is longer than any honest one")
        self._check(self._stream.tell())
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        """Go to a position from the beginning, which is returned."""
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        """Tell the position from the beginning."""
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._largest:
            raise ArchiveError(f"the archive unpacks to more than {self._largest} bytes, the most for its size")


def _check(name: str, count: int, total: int, limits: ArchiveLimits) -> None:
    path = PureWindowsPath(name)  # it knows both kinds of slashes, and drives
    if path.anchor or ".." in path.parts:
        raise ArchiveError(f"member {name!r} leads out of the archive's folder; such an archive is not to be trusted")
    if count >= limits.members:
        raise ArchiveError(f"the archive has more than {limits.members} members")
    if total > limits.total_bytes:
        raise ArchiveError(f"the archive unpacks to more than {limits.total_bytes} bytes")


def _copy(member: _Member, file: IO[bytes]) -> None:
    """Copy a member's bytes. Writing may fail with OSError, reading only with ArchiveError."""
    with ExitStack() as stack:
        copied = 0
        with _reading(f"member {member.name!r}"):
            source = stack.enter_context(member.open())
        while True:
            with _reading(f"member {member.name!r}"):
                chunk = source.read(_CHUNK)
            if not chunk:
                break
            file.write(chunk)
            copied += len(chunk)
        if copied != member.size:
            raise ArchiveError(f"member {member.name!r} holds {copied} bytes; it declares {member.size}")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise ArchiveError(f"{what} cannot be read ({' '.join(str(error).split()) or type(error).__name__})") from None


def _head(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _is_shadow(name: str) -> bool:
    """Whether a member only holds what a Mac knows of another."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith("._") for part in parts)
