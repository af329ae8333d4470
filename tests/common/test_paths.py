"""Paths that a user wrote: what no file can be called is one sentence."""

from __future__ import annotations

import pytest

from common.errors import UserError
from common.paths import user_path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\0b", r"^'a\\x00b': the name of a file cannot hold the character NUL$"),
        ("~\0/b", "the character NUL$"),
        ("a\ud800b", r"^'a\\ud800b': the name of a file cannot hold half of a pair of surrogates$"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        user_path(text)


def test_a_name_that_the_system_gave_in_other_bytes_stands() -> None:
    assert str(user_path("a\udcffb")) == "a\udcffb"
