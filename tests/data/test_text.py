"""A user's own text: every kind of file is read as it should be, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import DATASETS, DatasetError, load_dataset
from data.text.passages import load_text

PARAGRAPHS = "One.\nStill one.\n\nTwo.\n \n\nThree, ä.\n"


def written(folder: Path, content: bytes | str) -> str:
    (folder / "t.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder / "t.txt")


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (PARAGRAPHS, 3),
        (PARAGRAPHS.replace("\n", "\r\n"), 3),
        ("\n\n" + PARAGRAPHS, 3),
        ("one\ntwo\nthree", 3),
        ("one\n\none\n\none\n\n", 2),  # alike as paragraphs, and then the lines: one and none
        ("".join(f"{i}\n\n" for i in range(50)), 50),
    ],
)
def test_the_parts_are_the_whole_text_and_every_passage_is_in_one(content: str, count: int, tmp_path: Path) -> None:
    text = load_text(file=written(tmp_path, content))
    assert text.name == "t.txt"
    parts = [bytes(part).decode() for part in (text.train, text.held_out)]
    assert all(parts)
    assert sorted("".join(parts)) == sorted(content)
    assert text.train.dtype == text.held_out.dtype == np.uint8
    whole = [line for line in content.splitlines() if line.strip()]
    assert len(set(whole)) <= count + 1
    for line in set(whole):
        assert (line in parts[0].splitlines()) != (line in parts[1].splitlines())


def test_a_mark_before_the_text_is_left_out(tmp_path: Path) -> None:
    plain = load_text(file=written(tmp_path, PARAGRAPHS))
    marked = load_text(file=written(tmp_path, b"\xef\xbb\xbf" + PARAGRAPHS.encode()))
    np.testing.assert_array_equal(plain.train, marked.train)


def test_a_new_passage_moves_none_of_the_others(tmp_path: Path) -> None:
    before = load_text(file=written(tmp_path, "".join(f"{i}\n\n" for i in range(40))), held_out=0.3)
    after = load_text(
        file=written(tmp_path, "new\n\n" + "".join(f"{i}\n\n" for i in reversed(range(40)))), held_out=0.3
    )
    for part in ("train", "held_out"):
        old, new = (set(bytes(getattr(text, part)).split()) for text in (before, after))
        assert old == new - {b"new"}
    assert 4 < len(bytes(before.held_out).split()) < 22


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        (b"gr\xfc\xdfe\n", {}, r"t\.txt is not text in UTF-8"),
        (b"", {}, "has 0 passages; at least two different paragraphs or lines are needed"),
        (b"one", {}, "has 1 passage; at least two"),
        (b"one\none\n", {}, "has 2 passages, all equal; at least two"),
        (PARAGRAPHS, {"held_out": 1.0}, "held_out should be a share between 0 and 1, not 1.0"),
        (PARAGRAPHS, {"root": "here"}, "takes no 'root': file is a path"),
        (PARAGRAPHS, {"download": True}, "takes no 'download': file is a path"),
        (PARAGRAPHS, {"file": None}, "needs file, a text in UTF-8"),
        (PARAGRAPHS, {"file": "nowhere.txt"}, r"nowhere\.txt does not exist"),
        (PARAGRAPHS, {"file": "."}, "is a folder; expected a file"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    content: bytes | str, options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=sentence):
        load_text(**{"file": written(tmp_path, content), **options})


def test_text_has_no_images(tmp_path: Path) -> None:
    assert DATASETS["text"] is load_text
    with pytest.raises(DatasetError, match="'text' is a sequence of bytes and has no images; TrainWaveNetRunner"):
        load_dataset("text", file=written(tmp_path, PARAGRAPHS))
