"""What parsers raise, as one sentence; and .npz files that are damaged where numpy does not look."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from common.npz import open_npz
from common.reading import cause, reading


class FileError(UserError):
    pass


def refused(path: Path, problem: BaseException, **options: Any) -> str:
    with pytest.raises(FileError) as caught, reading(path, "is damaged", FileError, **options):
        raise problem
    return str(caught.value)


@pytest.mark.parametrize(
    "problem",
    [
        struct.error("a\nb"),
        EOFError("a\nb"),
        zipfile.BadZipFile("a\nb"),
        RuntimeError("a  b"),
        NotImplementedError("a b"),
        zlib.error("a b"),
        KeyError("a b"),
        RecursionError("a b"),
        OverflowError("a b"),
        OSError("a b"),
    ],
)
def test_whatever_a_parser_raises_is_one_sentence(tmp_path: Path, problem: Exception) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"content")
    said = refused(path, problem)
    assert said.startswith(f"{path} is damaged: ")
    assert said.replace("'", "").endswith(": a b")
    assert refused(path, problem, why=False) == f"{path} is damaged"
    assert refused(path, problem, source="file 'f'").startswith("file 'f' is damaged: ")


def test_a_file_that_is_too_large_is_not_called_damaged(tmp_path: Path) -> None:
    assert refused(tmp_path / "f", MemoryError()) == f"{tmp_path / 'f'} needs more memory than there is"


def test_errors_of_ours_and_interruptions_pass(tmp_path: Path) -> None:
    for kind in (FileError, UserError, KeyboardInterrupt):
        with pytest.raises(kind) as caught, reading(tmp_path, "is damaged", FileError):
            raise kind("as it is")
        assert str(caught.value) == "as it is"


def test_what_the_disk_says_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=" cannot be read: No such file"), reading(tmp_path, "?", FileError):
        (tmp_path / "nowhere").read_bytes()
    assert cause(ValueError()) == "ValueError"
    assert len(cause(ValueError("x" * 1000))) < 250


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "it is a pointer of Git LFS, not the file itself: fetch it",
        ),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
        (b"\x1f\x8b\x08\0", "it is compressed by gzip"),
    ],
)
def test_files_that_are_something_else_are_called_so(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "f").write_bytes(content)
    assert refused(tmp_path / "f", ValueError("magic")).startswith(f"{tmp_path / 'f'} is damaged: {what}")


ARRAYS = {"a": np.arange(5000.0), "b/c": np.arange(6).reshape(2, 3), "flag": np.array(True)}


def archive(save: Any = np.savez) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **ARRAYS)
    return buffer.getvalue()


def read(path: Path) -> dict[str, np.ndarray]:
    with open_npz(path, f"file {path.name!r}", FileError) as found:
        return dict(found)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back(tmp_path: Path, save: Any) -> None:
    (tmp_path / "a.npz").write_bytes(archive(save))
    with open_npz(tmp_path / "a.npz", "it", FileError) as found:
        assert list(found) == list(ARRAYS)
        assert len(found) == 3
        assert "a" in found
        assert "d" not in found
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
        with pytest.raises(KeyError):
            found["d"]


WHOLE = archive()


def with_shape_of_4000() -> bytes:
    return WHOLE.replace(b"(5000,)", b"(4000,)", 1)


def with_one_array_behind_another() -> bytes:
    """The second member's entry in the directory as a comment of the first."""
    place = WHOLE.index(b"PK\1\2")
    following = WHOLE.index(b"PK\1\2", place + 4)
    length = WHOLE.index(b"PK\1\2", following + 4) - following
    return WHOLE[: place + 32] + struct.pack("<H", length) + WHOLE[place + 34 :]


def encrypted() -> bytes:
    """As a reader sees it: the flag is set."""
    found = bytearray(WHOLE)
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        found[WHOLE.index(magic) + offset] |= 1
    return bytes(found)


def compressed_otherwise() -> bytes:
    found = bytearray(WHOLE)
    for magic, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        found[WHOLE.index(magic) + offset] = 97
    return bytes(found)


def of_objects() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], object))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "file 'a.npz' is damaged, or not an .npz file: it is empty"),
        (b"text", "file 'a.npz' is damaged, or not an .npz file"),
        (WHOLE[:-30], "file 'a.npz' is damaged, or not an .npz file"),
        (with_shape_of_4000(), "file 'a.npz' is not readable: Bad CRC-32 for file 'a.npy'"),
        (with_one_array_behind_another(), "file 'a.npz' is damaged, or not an .npz file"),
        (encrypted(), "file 'a.npz' is not readable: File 'a.npy' is encrypted, password required for extraction"),
        (compressed_otherwise(), "file 'a.npz' is not readable: That compression method is not supported"),
        (of_objects(), "file 'a.npz' is not readable: Object arrays cannot be loaded when allow_pickle=False"),
    ],
)
def test_damaged_archives_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FileError) as caught:
        read(tmp_path / "a.npz")
    assert str(caught.value) == sentence


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is a folder; expected an .npz file"):
        read(tmp_path)
    with pytest.raises(FileError, match="file 'b.npz' does not exist"):
        read(tmp_path / "b.npz")
