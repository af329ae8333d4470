"""The one guard around parsers of files: whatever a damaged or foreign file makes them raise becomes one sentence."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError

_LONGEST = 200  # characters of a parser's own words
# What files often are in the place of what their names say, by their first bytes.
_FOREIGN = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself: fetch it with git lfs pull",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"\x89hdf\r\n": "an HDF5 file",
    b"\x93numpy": "a single .npy array",
    b"gguf": "a GGUF file",
    b"\x1f\x8b": "compressed by gzip",
    b"rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"%pdf": "a PDF document",
}


@contextmanager
def reading(
    path: Path, complaint: str, error: Callable[[str], Exception], *, source: str | None = None, why: bool = True
) -> Iterator[None]:
    """Turn what a parser raises in the body into one sentence; a UserError passes as it is.

    Only the parser's call belongs into the body: a mistake in code of ours would be taken for one in the file.

    Args:
        path: the file; its first bytes are looked at where it cannot be read, for what it is instead.
        complaint: what is wrong with a file that cannot be parsed, such as "is damaged, or not an .npz file".
        error: makes the exception of a sentence, mostly its class.
        source: what the sentence begins with, the path by default.
        why: whether the parser's own words follow, for those that help.
    """
    source = str(path) if source is None else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parsers warn of what they then refuse, or read all the same
            yield
    except UserError:
        raise
    except OSError as problem:
        if problem.errno in (None, errno.EINVAL):  # a parser's own, or it looked where no file has anything
            raise error(_sentence(path, source, complaint, cause(problem) if why else None)) from None
        raise error(f"{source} cannot be read: {problem.strerror or problem}") from None
    except MemoryError:  # a whole file that is large, or sizes that a damaged one may say
        raise error(f"{source} needs more memory than there is") from None
    except Exception as problem:  # what a damaged file raises depends on where the damage is
        raise error(_sentence(path, source, complaint, cause(problem) if why else None)) from None


def cause(problem: BaseException) -> str:
    """An exception's own words on one line, or its type where it has none."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _sentence(path: Path, source: str, complaint: str, why: str | None) -> str:
    detail = _appearance(path) or why
    return f"{source} {complaint}" + (f": {detail}" if detail else "")


def _appearance(path: Path) -> str | None:
    """What a file is, where its beginning tells that it is something else altogether."""
    try:
        with path.open("rb") as file:
            head = file.read(64).lower()
    except (OSError, ValueError):
        return None
    if not head:
        return "it is empty"
    return next((f"it is {what}" for magic, what in _FOREIGN.items() if head.lstrip().startswith(magic)), None)
