"""Archives of all kinds, and those that are damaged or made to do harm."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.weights.archives import ArchiveError, ArchiveLimits, open_archive
from tests.kit.packed import tarred, zipped
from tests.kit.web import OTHER, WEIGHTS


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def encrypted(content: bytes) -> bytes:
    """A zip that says that its first member is encrypted."""
    changed = bytearray(content)
    for magic, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        changed[content.index(magic) + offset] |= 1
    return bytes(changed)


def long_header() -> bytes:
    """A tar whose first header says that a name of 10 MiB follows."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 10 * 2**20
    return gzip.compress(info.tobuf() + bytes(10 * 2**20) + tarred(("a.pth", WEIGHTS)))


def overstated() -> bytes:
    """A zip whose directory says that its member is longer than it is."""
    content = zipped(("a.pth", WEIGHTS))
    return content.replace(len(WEIGHTS).to_bytes(4, "little"), (len(WEIGHTS) + 1).to_bytes(4, "little"))


TREE = (("data/readme.txt", b"hello"), ("data/runs/a.pth", WEIGHTS), ("data/__MACOSX/._a.pth", b"x"), ("b.pth", OTHER))
HARM = "leads out of the archive's folder; such an archive is not to be trusted"
SPECIAL = "member 'a.pth' is a link or a special file; expected a plain one"
GOOD = ("a.pth", WEIGHTS)


PACKED = [
    pytest.param(zipped(*TREE), id="zip"),
    pytest.param(tarred(*TREE), id="tar"),
    pytest.param(gzip.compress(tarred(*TREE)), id="tar.gz"),
    pytest.param(bz2.compress(tarred(*TREE)), id="tar.bz2"),
    pytest.param(lzma.compress(tarred(*TREE), preset=0), id="tar.xz"),
]


@pytest.mark.parametrize("content", PACKED)
def test_members_come_out_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "archive").write_bytes(content)
    with open_archive(tmp_path / "archive") as archive:
        assert archive.extract(["b.pth"], tmp_path / "b") == "b.pth"
        assert archive.extract(["none", "r*/a.pth", "*.pth"], tmp_path / "a") == "data/runs/a.pth"
    assert (tmp_path / "a").read_bytes() == WEIGHTS
    assert (tmp_path / "b").read_bytes() == OTHER


def test_harmless_links_elsewhere_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(tarred(GOOD, (special("link", tarfile.SYMTYPE), b"")))
    with open_archive(tmp_path / "archive") as archive:
        assert archive.extract(["a.pth"], tmp_path / "a") == "a.pth"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(zipped(GOOD, ("../x", b"")), f"member '../x' {HARM}", id="zip_up"),
        pytest.param(zipped(GOOD, ("/etc/x", b"")), f"member '/etc/x' {HARM}", id="zip_absolute"),
        pytest.param(zipped(GOOD, ("a\\..\\..\\x", b"")), f"member 'a\\\\..\\\\..\\\\x' {HARM}", id="zip_backslash"),
        pytest.param(zipped(GOOD, ("C:x", b"")), f"member 'C:x' {HARM}", id="zip_drive"),
        pytest.param(tarred(GOOD, ("a/../../x", b"")), f"member 'a/../../x' {HARM}", id="tar_up"),
        pytest.param(tarred(GOOD, ("/x", b"")), f"member '/x' {HARM}", id="tar_absolute"),
        pytest.param(zipped((zip_link("a.pth"), b"/etc/passwd")), SPECIAL, id="zip_symlink"),
        pytest.param(tarred((special("a.pth", tarfile.SYMTYPE), b"")), SPECIAL, id="tar_symlink"),
        pytest.param(tarred((special("a.pth", tarfile.LNKTYPE), b"")), SPECIAL, id="tar_hardlink"),
        pytest.param(tarred((special("a.pth", tarfile.CHRTYPE), b"")), SPECIAL, id="tar_device"),
        pytest.param(tarred((special("a.pth", tarfile.FIFOTYPE), b"")), SPECIAL, id="tar_pipe"),
        pytest.param(tarred((special("a.pth", tarfile.GNUTYPE_SPARSE), b"")), SPECIAL, id="tar_sparse"),
        pytest.param(
            zipped(("a.pth", bytes(2**25))),
            "member 'a.pth' unpacks to 33554432 bytes; 16777216 are allowed at most",
            id="zip_bomb",
        ),
        pytest.param(
            gzip.compress(tarred(("a.pth", bytes(2**25)))),
            "the archive unpacks to more than 16777216 bytes, the most for its size",
            id="tar_bomb",
        ),
        pytest.param(long_header(), "a member's header in the archive is longer than any honest one", id="tar_header"),
        pytest.param(
            zipped(("b.pth", b"x"), ("c.txt", b"x")),
            "none of the archive's 2 files fits a.pth; those that end in .pth: 'b.pth'",
            id="missing",
        ),
        pytest.param(zipped(), "none of the archive's 0 files fits a.pth; those that end in .pth: none", id="empty"),
        pytest.param(zipped(("a.pth/", b"")), "none of the archive's 0 files fits a.pth; ...", id="folder"),
        pytest.param(
            zipped(("x/a.pth", b"x"), ("y/a.pth", b"y")),
            "2 members fit a.pth: 'x/a.pth', 'y/a.pth'; expected one",
            id="ambiguous",
        ),
        pytest.param(zipped(GOOD)[:-300_000], "the archive cannot be read (File is not a zip file)", id="zip_half"),
        pytest.param(
            gzip.compress(tarred(GOOD))[:-300_000],
            "the archive cannot be read (Compressed file ended before the end-of-stream marker was reached)",
            id="tar.gz_half",
        ),
        pytest.param(tarred(GOOD)[:400_000], "the archive cannot be read (unexpected end of data)", id="tar_half"),
        pytest.param(overstated(), "member 'a.pth' ...", id="overstated"),
        pytest.param(
            encrypted(zipped(GOOD)),
            "member 'a.pth' cannot be read (File ...",
            id="encrypted",
        ),
        pytest.param(b"<html>too many requests</html>", "the file is neither a zip nor a tar archive", id="neither"),
        pytest.param(gzip.compress(b"x" * 999), "the file is neither a zip nor a tar archive", id="gzip_of_no_tar"),
        pytest.param(b"", "the file is neither a zip nor a tar archive", id="nothing"),
    ],
)
def test_bad_archive_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ArchiveError) as error, open_archive(tmp_path / "archive") as archive:
        archive.extract(["a.pth"], tmp_path / "out")
    said = str(error.value)
    assert said.startswith(sentence.removesuffix("...")) if sentence.endswith("...") else said == sentence
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("make", [zipped, tarred, lambda *members: gzip.compress(tarred(*members))])
@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"members": 3}, "the archive has more than 3 members"),
        ({"total_bytes": 1_000_000}, "the archive unpacks to more than 1000000 bytes"),
        ({"member_bytes": 699_999}, "member 'data/runs/a.pth' unpacks to 700000 bytes; 699999 are allowed at most"),
    ],
)
def test_limits_of_archives(tmp_path: Path, make: Callable[..., bytes], limits: dict[str, int], sentence: str) -> None:
    (tmp_path / "archive").write_bytes(make(*TREE))
    with pytest.raises(ArchiveError) as error, open_archive(tmp_path / "archive", ArchiveLimits(**limits)) as archive:
        archive.extract(["a.pth"], tmp_path / "out")
    assert str(error.value).startswith(sentence)
    assert not (tmp_path / "out").exists()
