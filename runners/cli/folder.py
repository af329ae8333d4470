"""A folder of results: which of its files a run wrote, and how new results take the place of old ones.

``results.json`` lists the files of its run under ``files``. New results are written into a hidden folder inside, then
their files are renamed into place, results.json last; files of the old list that are not on the new one go, and nothing
else is touched. What a process that was killed left half done is completed, or if it never came to the renaming
removed, by the next run in that folder. So the folder itself may be anything: the current one, a link, a mount point.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runners.config.schema import UsageError

try:
    import fcntl
except ImportError:  # a system where two runs that end together in one folder are not kept apart
    fcntl = None  # type: ignore[assignment]

RESULTS_FILE = "results.json"
_WRITING, _READY = ".trisolve-writing-", ".trisolve-ready-"


def check_folder(out: Path) -> None:
    """Refuse a folder that cannot be made or written to, and one that holds files but no run's results.

    Raises UsageError, before anything is computed.
    """
    try:
        existing = next(path for path in (out, *out.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise UsageError(f"--out {out}: {existing} is a file; expected a folder, or a path where one can be made")
        if out.is_symlink():
            out.resolve(strict=False)  # one that leads nowhere gets the folder that it names
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        raise UsageError(f"--out {out}: nothing can be written there: {error.strerror}") from None
    if existing != out:
        return
    others = [path for path in out.iterdir() if not path.name.startswith((_WRITING, _READY))]
    if others and _record(out) is None:
        raise UsageError(
            f"--out {out} holds other files and no {RESULTS_FILE} of a run; results would lie among them: "
            "choose another"
        )


class Staging:
    """New results on their way into a folder."""

    def __init__(self, out: Path) -> None:
        """Make a hidden folder inside ``out``, which is made too where it is missing."""
        self._out = out.resolve()
        self._out.mkdir(parents=True, exist_ok=True)
        with _alone_in(self._out):
            _recover(self._out)
            self.folder = Path(tempfile.mkdtemp(prefix=_WRITING, dir=self._out))
            self._lock = _lock(self.folder)

    def commit(self) -> Path:
        """Give the files their places, and return the folder where they are.

        That is one further in, where a file that no run wrote has the name of one of theirs.
        """
        ready = self._out / self.folder.name.replace(_WRITING, _READY, 1)
        with _alone_in(self._out):
            self.folder.rename(ready)  # from here on a later run would complete it
            _unlock(self._lock)
            try:
                return _settle(self._out, ready)
            except KeyboardInterrupt:
                _settle(self._out, ready)
                raise

    def discard(self) -> None:
        """Remove what was written, and the folder itself if nothing else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _unlock(self._lock)
        with suppress(OSError):
            self._out.rmdir()


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
    """Rename the files of ``ready`` into ``out``; may be called again after having been stopped at any moment."""
    coming = _record(ready)
    if coming is not None:
        record = _record(out)
        new, old = _listed(coming), _listed(record)
        waiting = [name for name in sorted(new) if (ready / name).exists()]
        if any((out / name).exists() for name in waiting if name not in old) and not _unlisted(record):
            return _aside(out, ready)
        for name in sorted(old - new):
            if (out / name).is_file():
                (out / name).unlink()
        for name in [*(name for name in waiting if name != RESULTS_FILE), RESULTS_FILE]:
            os.replace(ready / name, out / name)
    if ready.is_dir():
        ready.rmdir()
    return out


def _aside(out: Path, ready: Path) -> Path:
    """Keep the new results in a folder of their own: a file that no run wrote has the name of one of theirs."""
    number = next(i for i in range(2, 10**6) if not (out / f"results-{i}").exists())
    aside = out / f"results-{number}"
    ready.rename(aside)
    aside.chmod(0o755)
    return aside


def _recover(out: Path) -> None:
    """Complete or remove what killed runs have left in a folder."""
    for path in sorted(out.iterdir()):
        if path.name.startswith(_READY):
            _settle(out, path)
        elif path.name.startswith(_WRITING):
            lock = _lock(path)
            if lock is not None:  # no run is writing it any more
                shutil.rmtree(path, ignore_errors=True)
                _unlock(lock)


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
    files: Sequence[Any] = record.get("files") or []
    return {RESULTS_FILE} | {name for name in files if isinstance(name, str) and Path(name).name == name}


def _unlisted(record: dict[str, Any] | None) -> bool:
    """Whether results are of the time before runs listed their files; those of the same names are then a run's."""
    return record is not None and "files" not in record


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs from giving results their places, or from clearing up, in a folder."""
    lock = _lock(folder, wait=True)
    try:
        yield
    finally:
        _unlock(lock)


def _lock(folder: Path, *, wait: bool = False) -> int | None:
    """Lock a folder until ``_unlock``, or until the process ends. None: another process has it."""
    if fcntl is None:
        return -1
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:  # a file system without locks
        os.close(handle)
        return -1
    return handle


def _unlock(handle: int | None) -> None:
    if handle is not None and handle >= 0:
        with suppress(OSError):
            os.close(handle)
