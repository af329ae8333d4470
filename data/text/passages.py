"""A user's own text as a sequence of bytes, in a training and a held-out part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8

from common.paths import user_path
from common.reading import reading
from data.images.dataset import DatasetError
from data.images.split import first_kept

NUM_IDS = 256  # a byte is a class id


@dataclass(frozen=True, eq=False)
class Text:
    """A text in a training and a held-out part, each its passages in the order of the file, as UTF-8 bytes.

    Attributes:
        name: the file's.
        train: class ids from 0 to 255, (N,), of the text to train on.
        held_out: those of the text never trained on, (M,).
    """

    name: str
    train: UInt8[np.ndarray, " N"]
    held_out: UInt8[np.ndarray, " M"]


def load_text(
    *, root: str | None = None, download: bool = False, file: str | None = None, held_out: float | None = None
) -> Text:
    """The text in a UTF-8 file, byte by byte.

    It is split by content: a hash of each passage decides where it belongs, so that equal passages are in the same part
    and a new one moves none of the others. Passages are paragraphs, between blank lines; where there are none they are
    lines. The mark that some editors put before a text (a BOM) is left out, all else is as it stands.

    Args:
        root: must be ``None``: ``file`` is the whole path.
        download: must be ``False``.
        file: the file.
        held_out: share of the different passages that are held out; ``None`` is 0.1.

    Raises:
        DatasetError: one sentence: the file is not there, cannot be read, is not UTF-8 or has no two different
            passages, or an argument is refused.
    """
    if root is not None or download:
        raise DatasetError(f"dataset 'text' takes no {'root' if root is not None else 'download'!r}: file is a path")
    if file is None:
        raise DatasetError("dataset 'text' needs file, a text in UTF-8")
    return passages_by_hash(user_path(file).name, _read(file), held_out)


def passages_by_hash(name: str, content: bytes, held_out: float | None) -> Text:
    """A text in its two parts, as ``load_text`` tells them apart. Raises DatasetError as that."""
    passages = _passages(content)
    hashes = np.array([_hash(passage) for passage in passages], np.uint64)
    apart = hashes < first_kept(name, hashes, held_out, ("passage", "different paragraphs or lines"))
    parts = [b"".join(each for each, out in zip(passages, apart, strict=True) if out == part) for part in (False, True)]
    train, kept = (np.frombuffer(part, np.uint8) for part in parts)
    return Text(name, train, kept)


def _read(file: str) -> bytes:
    path, source = user_path(file), f"dataset 'text': {user_path(file)}"
    if not path.is_file():
        raise DatasetError(f"{source} is a folder; expected a file" if path.is_dir() else f"{source} does not exist")
    with reading(path, "is not text in UTF-8", DatasetError, source=source):
        content = path.read_bytes()
        content.decode("utf-8")
    return content.removeprefix(b"\xef\xbb\xbf")


def _passages(content: bytes) -> list[bytes]:
    """The paragraphs, each with the blank lines behind it, or if all are alike the lines; joined they are the text."""
    lines = content.splitlines(keepends=True)
    begins = [i for i, line in enumerate(lines) if not i or (line.strip() and not lines[i - 1].strip())]
    paragraphs = [b"".join(lines[a:b]) for a, b in pairwise([*begins, len(lines)])]
    return paragraphs if len(set(paragraphs)) > 1 else lines


def _hash(passage: bytes) -> int:
    """The first 64 bits of the SHA-256 of a passage without white space around it."""
    return int.from_bytes(hashlib.sha256(passage.strip()).digest()[:8], "big")
