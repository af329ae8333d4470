"""Published weights that others host: which there are, where they lie once fetched, and fetching them.

``checkpoints/downloads.json`` lists them. A file is taken only if it has the published hash; where none is published,
the hash of the first download is recorded beside the file, and later downloads must have it too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from common.errors import UserError
from common.files import move_into_place, write_atomically
from common.options import build_options
from common.paths import CHECKPOINTS, user_path
from models.weights.archives import ArchiveError, open_archive
from models.weights.fetching import FetchError, FetchSettings, Observer, fetch

REGISTRY = CHECKPOINTS / "downloads.json"
CACHE_VARIABLE = "TRISOLVE_CACHE"


class DownloadError(RuntimeError):
    """A download that failed; nothing of it is left. The message is the sentence for the user."""


@dataclass(frozen=True)
class Download:
    """Published weights as the registry has them: where they are, and of what architecture."""

    name: str
    urls: tuple[str, ...]  # mirrors; gdrive:<id> and torchvision:<weights> as in models.weights.fetching
    format: Literal["archive", "file"]  # zip or tar, or the weights themselves
    suffix: str  # of the weights file: which importer reads it
    model: dict[str, Any] | str  # the architecture as in a config, or the name of one that is not among MODELS yet
    licence: str
    publisher: str
    members: tuple[str, ...] = ()  # where the weights are in the archive: patterns, the first that fits counts
    sha256: str | None = None  # of the file at the address, as published
    sha256_prefix: str | None = None  # where only the first digits are published
    size: int | None = None  # of the file at the address, in bytes, where it is published
    approximate_mib: float | None = None  # where it is published with so many digits only
    note: str = ""

    def __post_init__(self) -> None:
        if not self.urls:
            raise ValueError("urls must hold one or more addresses")
        if (self.format == "archive") != bool(self.members):
            raise ValueError("members must be given for an archive, and for nothing else")


@dataclass(frozen=True)
class Fetched:
    """Weights that have been downloaded, and how that went."""

    path: Path
    sha256: str
    is_new: bool  # not there before
    is_first: bool  # nothing vouched for them: their hash is on record from now on
    others: tuple[str, ...] = ()  # names of other weights that came in the same archive


@dataclass(frozen=True)
class _Record:
    """The record of a download, in a JSON file beside it."""

    sha256: str  # of the weights
    source_sha256: str  # of the file that they came in
    url: str
    member: str | None = None


def downloads() -> dict[str, Download]:
    """The registry of published weights by name."""
    entries: dict[str, dict[str, Any]] = json.loads(REGISTRY.read_text(encoding="utf-8"))
    return {name: build_options(Download, {"name": name, **entry}) for name, entry in entries.items()}


def user_cache() -> Path | None:
    """``$TRISOLVE_CACHE``, or a folder in the platform's cache for this user; None for an account without a home."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return user_path(chosen).absolute()
    try:
        Path.home()
    except RuntimeError:
        return None
    import pooch  # type: ignore[import-untyped]  # it is slow to import

    return Path(pooch.os_cache("trisolve"))


def cache_folder() -> Path:
    """The folder that downloads go to; without a home one of this user's own among the temporary files.

    Raises UserError where that cannot be made, or is not this user's alone: anybody may make one of that name first.
    """
    found = user_cache()
    if found is not None:
        return found
    user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"trisolve-{user}"
    advice = f"set {CACHE_VARIABLE} to a folder of your own"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()  # of a link itself
    except OSError as error:
        raise UserError(f"there is no home folder, and {folder} cannot be made: {error.strerror}; {advice}") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o077:
        raise UserError(f"there is no home folder, and {folder} is not a folder of yours alone (mode 0700); {advice}")
    return folder


def downloaded(entry: Download) -> Path | None:
    """The weights file, if it has been downloaded."""
    path = cache_folder() / f"{entry.name}{entry.suffix}"
    return path if path.is_file() and _record_path(path).is_file() else None


def download(entry: Download, observer: Observer, settings: FetchSettings) -> Fetched:
    """Fetch weights into the cache folder, unless they are there, whole, already.

    Other weights of the registry that lie in the same archive are unpacked too, where they are not there yet. Waits
    for another process that downloads from the same address.

    Raises:
        DownloadError: with nothing new under the weights' name.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _workspace(entry, folder, observer) as workspace:
            return _present(entry, folder, observer) or _fetched(entry, folder, workspace, observer, settings)
    except (FetchError, ArchiveError) as error:
        raise DownloadError(f"{entry.name}: {error}") from None
    except OSError as error:
        raise DownloadError(f"{entry.name} cannot be stored in {folder}: {error.strerror or error}") from None


@contextlib.contextmanager
def _workspace(entry: Download, folder: Path, observer: Observer) -> Iterator[Path]:
    """An empty folder inside ``folder``, for as long as no other process works on the same address."""
    key = f".{hashlib.sha256(entry.urls[0].encode()).hexdigest()[:16]}"
    lock = FileLock(folder / f"{key}.lock")  # it stays there: to delete it would let two others in at once
    try:
        lock.acquire(timeout=0)
    except Timeout:
        observer.say("another process downloads this; waiting for it")
        lock.acquire()
    workspace = folder / f"{key}.partial"
    try:
        shutil.rmtree(workspace, ignore_errors=True)  # of a process that was killed
        workspace.mkdir()
        yield workspace
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
        lock.release()


def _present(entry: Download, folder: Path, observer: Observer) -> Fetched | None:
    """The weights that are there already. Damaged ones are deleted."""
    path = folder / f"{entry.name}{entry.suffix}"
    record = _read_record(path)
    if record is None or not path.is_file() or _objection(entry, record.source_sha256):
        return None
    digest = _sha256(path)
    if digest == record.sha256:
        return Fetched(path, digest, is_new=False, is_first=False)
    observer.say(f"{path} is damaged; fetching it again")
    path.unlink()
    return None


def _fetched(entry: Download, folder: Path, workspace: Path, observer: Observer, settings: FetchSettings) -> Fetched:
    source, weights = workspace / "source", workspace / f"{entry.name}{entry.suffix}"
    digest = ""

    def accept(path: Path) -> None:
        nonlocal digest
        size, digest = path.stat().st_size, _sha256(path)
        if entry.size not in (None, size):
            raise FetchError(f"what came has {size} bytes; expected {entry.size}")
        if objection := _objection(entry, digest):
            raise FetchError(objection)

    url = fetch(entry.urls, source, accept, observer, settings)
    if entry.format == "file":
        return _install(entry, folder, source, _Record(digest, digest, url))
    others = []
    with open_archive(source) as archive:
        member = archive.extract(entry.members, weights)
        fetched = _install(entry, folder, weights, _Record(_sha256(weights), digest, url, member))
        for other in downloads().values():
            if other.urls == entry.urls and downloaded(other) is None:
                weights = workspace / f"{other.name}{other.suffix}"
                with contextlib.suppress(ArchiveError, FetchError, OSError):  # told to who asks for it by name
                    member = archive.extract(other.members, weights)
                    _install(other, folder, weights, _Record(_sha256(weights), digest, url, member))
                    others.append(other.name)
    return Fetched(fetched.path, fetched.sha256, fetched.is_new, fetched.is_first, tuple(others))


def _install(entry: Download, folder: Path, weights: Path, record: _Record) -> Fetched:
    """Move weights to their name. Raises FetchError where they are not those of the first download."""
    path = folder / f"{entry.name}{entry.suffix}"
    first = _read_record(path)
    if first is not None and first.sha256 != record.sha256 and entry.sha256 is None:
        raise FetchError(
            f"the sha256 of what came is {record.sha256}, that of the first download was {first.sha256}; if you trust "
            f"the new file all the same, delete {_record_path(path)} and download it again"
        )
    write_atomically(_record_path(path), (json.dumps(vars(record), indent=2) + "\n").encode())
    move_into_place(weights, path)
    is_vouched_for = entry.sha256 is not None or entry.sha256_prefix is not None
    return Fetched(path, record.sha256, is_new=True, is_first=first is None and not is_vouched_for)


def _objection(entry: Download, digest: str) -> str | None:
    """The objection of the published hash to a file at the address, as a sentence, if there is one."""
    if not digest.startswith(entry.sha256 or entry.sha256_prefix or ""):
        published = entry.sha256 or f"{entry.sha256_prefix}..."
        return f"what came is not the published file: its sha256 is {digest}, expected {published}"
    return None


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_record(path: Path) -> _Record | None:
    record = _record_path(path)
    try:
        return build_options(_Record, json.loads(record.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError):
        raise FetchError(f"{record} is damaged; delete it to trust the next download") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
