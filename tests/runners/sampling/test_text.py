"""Sampling text, from the command line to the files that it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from runners.cli.main import main

MODEL = {"name": "language", "width": 8, "num_layers": 1, "num_heads": 2, "context": 24}


def run(folder: Path, out: str, **changes: Any) -> int:
    config = {"model": MODEL, "batch_size": 2, "num_tokens": 16, "prompt": "To be", "seed": 1, "repeats": 1}
    config |= {"solvers": ["cached_sequential", "jacobi"]}
    path = folder / f"{out}.yml"
    path.write_text(yaml.safe_dump(config | changes))
    return main(["--runner", "LanguageSamplerRunner", "--config", str(path), "--out", str(folder / out)])


def test_a_text_goes_on_from_its_prompt_and_the_results_say_how_fast(tmp_path: Path) -> None:
    assert run(tmp_path, "out") == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["identical_to_reference"] == {"cached_sequential": True, "jacobi": True}
    assert results["tokens_a_step"]["cached_sequential"] == 1.0
    assert 11 / 16 < results["tokens_a_step"]["jacobi"] <= 11
    parts = (tmp_path / "out" / "samples.txt").read_text().split("--- ")[1:]
    texts = [part.partition("\n")[2] for part in parts]
    assert len(texts) == 2
    assert all(text.startswith("To be") for text in texts)
    with np.load(tmp_path / "out" / "samples.npz") as file:
        assert file["samples"].shape == (2, 16)
    assert (tmp_path / "out" / "accepted.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": "café"}, "does not know the character 'é', number 3 of the text"),
        ({"prompt": "x" * 16}, "prompt has 16 characters, which leaves none of 16 (num_tokens) to find"),
        ({"num_tokens": 25}, "from 1 to 24 characters, the model's context, not 25"),
        ({"head": {"top_k": 0}}, "head: top_k must be from 1 to the number of classes, 96, not 0"),
        ({"head": {"top_p": 1.5}}, "head: top_p must be more than 0 and at most 1, not 1.5"),
        ({"head": {"name": "gumble"}}, "unknown head 'gumble'; did you mean 'gumbel'"),
        ({"judge": "densenet_mnist"}, "judge does not go with language, which writes text, a character an equation"),
    ],
)
def test_a_mistake_is_one_sentence(
    changes: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "out", **changes) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in " ".join(said.split())
    assert not (tmp_path / "out").exists()
