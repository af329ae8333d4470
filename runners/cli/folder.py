"""A folder of results: which of its files a run wrote, and how new results take the place of old ones.

``results.json`` lists the files of its run under ``files``. New results are written into a hidden folder inside, then
their files are renamed into place, results.json last; files of the old list that are not on the new one go, and nothing
else is touched. What a process that was killed left half done is completed, or if it never came to the renaming
removed, before the next run in that folder computes anything. So the folder itself may be anything: the current one, a
link, a mount point.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runners.config.schema import UsageError

try:
    import fcntl
except ImportError:  # a system where two runs that end together in one folder are not kept apart
    fcntl = None  # type: ignore[assignment]

RESULTS_FILE = "results.json"
_OURS = ".trisolve-"  # how the name of everything begins that is hidden in a folder of results
_WRITING, _READY, _LOCK = _OURS + "writing-", _OURS + "ready-", _OURS + "lock"


def check_folder(out: Path) -> None:
    """Refuse a folder that cannot be made or written to, and one that holds files but no run's results.

    What a killed run left there is first brought to its end. Raises UsageError, before anything is computed.
    """
    try:
        place = Path(os.path.realpath(out))  # a link that leads nowhere gets the folder that it names
        existing = next(path for path in (place, *place.parents) if os.path.lexists(path))
        if not existing.is_dir():
            kind = "a link to itself" if existing.is_symlink() else "a file"
            raise UsageError(f"--out {out}: {existing} is {kind}; expected a folder, or a path where one can be made")
        tempfile.TemporaryDirectory(dir=existing).cleanup()
        if existing != place:
            return
        with _alone_in(place):
            _recover(place)
        others = [path for path in place.iterdir() if not path.name.startswith(_OURS)]
    except OSError as error:
        raise UsageError(f"--out {out}: nothing can be written there: {error.strerror}") from None
    if others and _record(place) is None:
        raise UsageError(
            f"--out {out} holds other files and no {RESULTS_FILE} of a run; results would lie among them: "
            "choose another"
        )


class Staging:
    """New results on their way into a folder."""

    def __init__(self, out: Path) -> None:
        """Make a hidden folder inside ``out``, which is made too where it is missing."""
        self._out = out.resolve()
        self._made = not self._out.exists()
        self._out.mkdir(parents=True, exist_ok=True)
        with _alone_in(self._out):
            self._out.mkdir(parents=True, exist_ok=True)  # again: a run that had made it may just have removed it
            _recover(self._out)
            self._hidden = Path(tempfile.mkdtemp(prefix=_WRITING, dir=self._out))
            self._lock = _lock(self._hidden / _LOCK)
        self.folder = self._hidden / "results"  # a folder of its own, so that the lock is not among them
        self.folder.mkdir()

    def commit(self) -> Path:
        """Give the files their places, and return the folder where they are.

        That is one further in, where a file that no run wrote has the name of one of theirs.
        """
        ready = self._out / self._hidden.name.replace(_WRITING, _READY, 1)
        with _alone_in(self._out):
            _complete(self._out)  # what a run left that was killed meanwhile is older
            self.folder.rename(ready)  # from here on a later run would complete it
            try:
                return _settle(self._out, ready)
            except KeyboardInterrupt:
                _settle(self._out, ready)
                raise
            finally:
                self._drop()

    def discard(self) -> None:
        """Remove what was written, and the folder itself if it was made for it and nothing else is in it."""
        with _alone_in(self._out):
            self._drop()
            if self._made:
                with suppress(OSError):
                    self._out.rmdir()

    def _drop(self) -> None:
        """Let go of the hidden folder, and remove it."""
        _unlock(self._lock)  # first, as NFS does not remove a file that is open
        self._lock = None
        shutil.rmtree(self._hidden, ignore_errors=True)


@contextmanager
def staged(out: Path) -> Iterator[Staging]:
    """Results on their way into ``out``, discarded if the body fails before they are committed."""
    staging = Staging(out)
    try:
        yield staging
    except BaseException:
        staging.discard()
        raise


def _settle(out: Path, ready: Path) -> Path:
    """Rename the files of ``ready`` into ``out``; may be called again after having been stopped at any moment.

    Returns the folder where they are: one further in, where they cannot have their places.
    """
    coming, record = _record(ready), _record(out)
    if coming is not None:
        new, old = _listed(coming), _listed(record)
        waiting = [name for name in sorted(new) if (ready / name).exists()]
        if any(_is_taken(out / name, record) for name in waiting):
            return _aside(out, ready)
        try:
            for name in waiting:
                if name != RESULTS_FILE:
                    os.replace(ready / name, out / name)
            for name in sorted(old - new):
                if (out / name).is_file():
                    (out / name).unlink()
            os.replace(ready / RESULTS_FILE, out / RESULTS_FILE)
        except OSError:
            return _aside(out, ready)
    elif os.path.lexists(ready / RESULTS_FILE):  # which cannot be read
        return _aside(out, ready)
    with suppress(OSError):
        ready.rmdir()
    return out


def _is_taken(path: Path, record: dict[str, Any] | None) -> bool:
    """Whether the place of a new file is that of a folder, or of a file that is not of the run with that record.

    Results are also of the time before runs listed their files; those of the same names are then the run's.
    """
    is_unlisted = record is not None and "files" not in record
    return os.path.lexists(path) and (path.is_dir() or not (is_unlisted or path.name in _listed(record)))


def _aside(out: Path, ready: Path) -> Path:
    """Keep the new results in a folder of their own, with those of their files that have got their places already."""
    for name in _listed(_record(ready)):
        if not os.path.lexists(ready / name):
            with suppress(OSError):
                os.replace(out / name, ready / name)
    aside = next(path for i in range(2, 10**6) if not os.path.lexists(path := out / f"results-{i}"))
    ready.rename(aside)
    return aside


def _recover(out: Path) -> None:
    """Complete or remove what killed runs have left in a folder."""
    _complete(out)
    for path in out.glob(f"{_WRITING}*"):
        lock = _lock(path / _LOCK)
        if lock is not None:  # no run is writing it any more; where nothing can be locked nobody knows, and it stays
            _unlock(lock)
            shutil.rmtree(path, ignore_errors=True)


def _complete(out: Path) -> None:
    """Give the results of killed runs their places, if all of them had been written."""
    for path in out.glob(f"{_READY}*"):
        _settle(out, path)


def _record(out: Path) -> dict[str, Any] | None:
    """What results.json says, if it is a run's."""
    try:
        record = json.loads((out / RESULTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    is_ours = isinstance(record, dict) and {"schema", "runner", "config"} <= record.keys()
    return record if is_ours else None


def _listed(record: dict[str, Any] | None) -> set[str]:
    """The files of a run, by its own list; names alone, so that no list reaches out of its folder."""
    if record is None:
        return set()
    files = record.get("files")
    names = [name for name in files if isinstance(name, str)] if isinstance(files, list) else []
    return {RESULTS_FILE} | {name for name in names if Path(name).name == name}


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs from giving results their places, or from clearing up, in a folder."""
    lock = _lock(folder, wait=True)
    if lock is None:  # NFS locks files only
        lock = _lock(folder / _LOCK, wait=True)
    try:
        yield
    finally:
        _unlock(lock)


def _lock(path: Path, *, wait: bool = False) -> int | None:
    """Lock a folder, or the file in one that is there for it, until ``_unlock`` or the end of the process.

    None: another process has it, or it cannot be locked.
    """
    if fcntl is None:
        return None
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR | os.O_CREAT if path.name == _LOCK else os.O_RDONLY, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(handle)
            raise
        return handle
    return None


def _unlock(handle: int | None) -> None:
    if handle is not None:
        with suppress(OSError):
            os.close(handle)
