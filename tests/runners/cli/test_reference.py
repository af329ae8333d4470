"""Results that ship are written at a commit that holds all code, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.cli import reference
from runners.cli.main import main
from runners.cli.reference import check_reference
from runners.config.schema import UsageError


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (["a.py"], "results that ship name the commit of their code, and a.py differs from it; commit or remove it"),
        (["a.py", "b.py"], "and a.py and 1 more differ from it"),
        (None, "and this is no git repository; choose another folder"),
    ],
)
def test_they_are_refused_where_files_differ(
    changed: list[str] | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "REFERENCE", tmp_path.resolve())
    monkeypatch.setattr(reference, "changed_files", lambda: changed)
    with pytest.raises(UsageError, match=sentence):
        check_reference(tmp_path / "made_sampler")
    check_reference(tmp_path.parent)


def test_a_clean_tree_is_written_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "REFERENCE", tmp_path.resolve())
    monkeypatch.setattr(reference, "changed_files", list)
    check_reference(tmp_path / "made_sampler")


def test_nothing_is_run_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "REFERENCE", tmp_path.resolve())
    monkeypatch.setattr(reference, "changed_files", lambda: ["a.py"])
    assert main(["--config", "made_sampler", "--out", str(tmp_path / "made_sampler")]) == 2
    assert "a.py differs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
