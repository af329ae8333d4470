"""A user's text is read as he wrote it: YAML 1.2's numbers, text where text is wanted, one sentence for the rest."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from runners.config.files import apply_overrides, read_config
from runners.config.schema import DataConfig, RunConfig, UsageError
from runners.config.text import TextError, read_text


class Inner(BaseModel):
    path: str | None = None
    names: list[str] = []
    by_name: dict[str, str] = {}
    size: Annotated[int, Field(ge=1)] | None = None


class Config(RunConfig):
    wav: str | None = None
    name: str = "x"
    rate: float = 1.0
    inner: Inner | None = None
    many: list[Inner] = Field(default_factory=list)
    data: DataConfig = DataConfig()
    free: dict[str, Any] = Field(default_factory=dict)
    choice: int | str = 0


TEXTS = [
    *(
        "my #1 take.wav",
        "#1 take.wav",
        "~",
        "take: 1.wav",
        "12e5",
        "1:30",
        "2024-01-01",
        "2024-13-45",
        "0000-00-00",
        "on",
    ),
    *(
        r'"C:\temp\new.wav"',
        "*.pth",
        "@x",
        "%x",
        "[live] 1.wav",
        "!x",
        "a]b.wav",
        "{x}.wav",
        "&a.wav",
        "- a.wav",
        "010",
    ),
    *("true", "1_000", "0x1f", ".5", ".nan", "a=b", "'quoted'", "$x$", "~nosuch/w.pth", "null.wav", " a "),
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("key", ["wav", "name", "inner.path", "data.root"])
def test_an_override_of_text_is_that_text(key: str, text: str) -> None:
    found: Any = apply_overrides({}, [f"{key}={text}"], Config)
    for part in key.split("."):
        found = found[part]
    assert found == text


@pytest.mark.parametrize("text", ["", "null"])
def test_nothing_is_null(text: str) -> None:
    assert apply_overrides({}, [f"wav={text}", f"rate={text}"], Config) == {"wav": None, "rate": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("1e-6", 1e-6), ("1.0e3", 1000.0), ("1.e+3", 1000.0), ("-.5", -0.5),
        ("+12", 12), (".inf", math.inf), ("-.INF", -math.inf), ("1_000", "1_000"), ("1:30", "1:30"), ("0b1", "0b1"),
        ("2024-01-01", "2024-01-01"), ("yes", "yes"), ("on", "on"), ("True", True), ("FALSE", False), ("~", None),
        ("", None), ("null", None), ("'1'", "1"), ('"~"', "~"), ("[1, a, {b: 2}]", [1, "a", {"b": 2}]), ("1e", "1e"),
        ("²", "²"), ("1 000", "1 000"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = read_text(text)
    assert found == value
    assert type(found) is type(value)
    assert apply_overrides({}, [f"free.x={text}"], Config)["free"]["x"] == value


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(read_text(".nan"))


def test_a_file_has_text_where_text_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(
        "\ufeffwav: 010\nname: 2024-01-01\nrate: 1e3\nseed: 010\nchoice: 12\n"
        "inner:\n  path: 1:30\n  names: [1, ~, true]\n"
        "  by_name: {a: 1.0}\n  size: 3\nmany:\n- path: null\n- {path: }\n- path: '1'\nfree: {a: 010, b: ~}\n",
        encoding="utf-8",
    )
    assert read_config(tmp_path / "c.yml", Config) == {
        **{"wav": "010", "name": "2024-01-01", "rate": 1000.0, "seed": 10, "choice": 12},
        "inner": {"path": "1:30", "names": ["1", "~", "true"], "by_name": {"a": "1.0"}, "size": 3},
        "many": [{"path": None}, {"path": None}, {"path": "1"}],
        "free": {"a": 10, "b": None},
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed: 1\nwav: a\nseed: 2", "key 'seed' stands twice, in line 1 and in line 3"),
        ("inner:\n  size: 1\n  'size': 1", "key 'size' stands twice, in line 2 and in line 3"),
        ("seed: " + "9" * 5000, r"a number of 5000 digits is too long \(line 1, column 7\)"),
        ("wav: !!int x", r"the tag 'tag:yaml.org,2002:int' is not allowed; .* \(line 1, column 6\)"),
        ("wav: !!timestamp x", "the tag 'tag:yaml.org,2002:timestamp' is not allowed"),
        ("wav: !mine x", "the tag '!mine' is not allowed"),
        ("free: {a: !!str 5}", r"the tag 'tag:yaml.org,2002:str' is not allowed; .* \(line 1, column 11\)"),
        ("free: {a: ! 5}", "the tag '!' is not allowed"),
        ("wav: !!map foo", "the tag 'tag:yaml.org,2002:map' is not allowed"),
        ("many: !!seq [1]", "the tag 'tag:yaml.org,2002:seq' is not allowed"),
        (r'wav: "\UFFFFFFFF"', "the code of a letter"),
        (r'wav: "\U00110000"', "the code of a letter"),
        (f"%YAML {'1' * 5000}.1\n---\nwav: a", "the version in %YAML is out of range"),
        ("free: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("free: &a [*a]", "nested too deeply, or hold themselves|recursive"),
        ("free: {<<: 1}", r"<< merges a mapping, or a list of them \(line 1"),
        ("free: {<<: [{a: 1}, 2]}", r"<< merges a mapping, or a list of them \(line 1"),
        ("free: &a {<<: *a}", "nested too deeply, or hold themselves|recursive"),
        ("? [1]\n: 2", r"a key should be a word \(line 1"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: *b", "found undefined alias"),
        ("a: [1, 2", "expected ',' or ']'"),
        ("\t- a", "found character"),
        ("a: &x [1,1,1,1,1,1,1,1]\nb: &y [*x,*x,*x,*x,*x,*x,*x,*x]\nc: &z [*y,*y,*y,*y,*y,*y,*y,*y]\n"
         "d: &w [*z,*z,*z,*z,*z,*z,*z,*z]\ne: &v [*w,*w,*w,*w,*w,*w,*w,*w]\nf: [*v,*v,*v,*v]",
         "more than 100000 values"),
    ],
)  # fmt: skip
def test_text_that_has_no_place_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(TextError, match=sentence) as caught:
        read_text(text)
    assert "\n" not in str(caught.value)
    (tmp_path / "c.yml").write_text(text)
    with pytest.raises(UsageError, match=f"c.yml is not valid YAML: .*({sentence})"):
        read_config(tmp_path / "c.yml", Config)


def test_overrides_step_by_plain_digits_alone() -> None:
    with pytest.raises(UsageError, match="many is a list of 1; expected a number from 0 to 0, not '²'"):
        apply_overrides({"many": [{}]}, ["many.².path=1"], Config)
    assert apply_overrides({"many": [{}]}, ["many.0.path=1"], Config) == {"many": [{"path": "1"}]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: &a {b: 1, c: 2}\nfree: {<<: *a}", {"b": 1, "c": 2}),
        ("a: &a {b: 1, c: 2}\nfree: {<<: *a, c: 3}", {"b": 1, "c": 3}),
        ("a: &a {b: 1, c: 2}\nfree: {c: 3, <<: *a}", {"b": 1, "c": 3}),
        ("free: {<<: [{b: 1}, {b: 2, c: 2}]}", {"b": 1, "c": 2}),
        ("a: &a {b: 1}\nz: &z {<<: *a, c: 2}\nfree: {<<: *z}", {"b": 1, "c": 2}),
        ("free: {'<<': 1}", {"<<": 1}),
    ],
)
def test_another_mapping_s_keys_are_merged_behind_one_s_own(text: str, value: Any) -> None:
    assert read_text(text)["free"] == value


def test_an_index_has_no_more_digits_than_python_reads() -> None:
    with pytest.raises(UsageError, match="many is a list of 1; expected a number from 0 to 0, not '1111"):
        apply_overrides({"many": [{}]}, [f"many.{'1' * 5000}.path=1"], Config)
