"""Which results of a config are shown: a user's own, or those that ship."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runners.report.shipped import folder_of, results_of


def test_own_results_go_before_those_that_ship_and_a_line_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = tmp_path / "plot_data"
    shipped, own = inside / "reference" / "a", inside / "a"
    shipped.mkdir(parents=True)
    (shipped / "results.json").write_text(json.dumps({"git_commit": "0123456789ab"}))
    assert results_of("a", inside) == shipped
    said = "results: plot_data/reference/a (shipped with the repository, commit 0123456789ab)\n"
    assert capsys.readouterr().out == said
    own.mkdir()
    assert folder_of("a", inside) == shipped
    (own / "results.json").write_text(json.dumps({"git_commit": None}))
    assert results_of("a", inside) == own
    assert capsys.readouterr().out == "results: plot_data/a (your own run, no commit is known)\n"
