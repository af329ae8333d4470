"""The commit that results name: of the code, with a sign where files other than results differ from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runners.report import commit


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("code.py", "plot_data/reference/a/results.json", "notebooks/a.ipynb", "benchmarks/a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old")
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for line in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "Begin")):
        subprocess.run(["git", "-C", str(tmp_path), *line], check=True)
    monkeypatch.setattr(commit, "ROOT", tmp_path)
    return tmp_path


def test_results_and_notebooks_do_not_count_as_changes(repository: Path) -> None:
    clean = commit.git_commit()
    assert clean is not None
    assert len(clean) == 12
    for name in ("plot_data/reference/a/results.json", "plot_data/b.txt", "notebooks/a.ipynb", "benchmarks/a.json"):
        (repository / name).write_text("new")
    assert (commit.git_commit(), commit.changed_files()) == (clean, [])


def test_code_and_files_that_git_does_not_know_do(repository: Path) -> None:
    clean = commit.git_commit()
    (repository / "new.py").write_text("new")
    assert (commit.git_commit(), commit.changed_files()) == (clean, ["new.py"])
    (repository / "code.py").write_text("new")
    assert (commit.git_commit(), commit.changed_files()) == (f"{clean}+", ["code.py", "new.py"])


def test_outside_of_a_repository_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (commit.git_commit(), commit.changed_files()) == (None, None)
