"""The pages of the documentation, the commands that they show, and what each of these needs that a test has not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from common.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "data/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SHELL = re.compile(r"(?:\w+=\S+ )*(?:\.venv/bin/)?(?:python|make|pip|jupyter|mkdocs|espeak-ng)\b.*")

# Pages whose commands are run by a test as they stand, and the test.
RUN = {
    "your-own-model.md": "tests/runners/test_own_files.py",
    "your-own-data-and-weights.md": "tests/test_docs.py",  # a slow test
    "your-own-experiment.md": "tests/test_docs.py",
}
# Of all other commands the first pattern that is found in one says what it needs.
NEEDS = {
    r"^pip install|--download": "a network",
    r"published_": "a network: weights that others have published",
    r"--device gpu|^make gpu|requirements-gpu|--measure": "a GPU",
    r"some/|/path/to": "a file of the reader's",
    r"^make (test|train|results|regressions|benchmarks|fuzz)( CONFIG=.*)?$": "minutes to hours",
    r"^python -m (benchmarks|tests\.fuzz)\.": "minutes to hours",
    r"--config train_\w+\.yml": "minutes to hours",
    r"^espeak-ng": "a program that is not installed",
    r"-m pytest": "a test would run the tests",
    r"^python main\.py --compare": "results of runs: tests/runners/compare has its own",
    r"^make (demo|docs)$|^python -m docs\.tools\.\w+$": "nothing: tests make what it makes, or hold it",
}
# What remains is the program: --list, which a test runs, and runs of shipped configs. These take seconds to minutes; a
# test holds their keys, and the smallest run of each runner is in smallest.py.
SHIPPED = re.compile(r"^(?:\w+=\S+ )?python main\.py (--list$|(?:--runner \w+ )?--config \w+\.yml\b)")


def commands(page: Path) -> Iterator[str]:
    """Every command of a page in one line, without the comment behind it."""
    for line in page.read_text().replace("\\\n", " ").split("\n"):
        if line.startswith("    ") and SHELL.fullmatch(line.strip()):
            yield " ".join(re.sub(r"\s# .*$", "", line).split()).removeprefix(".venv/bin/")


def needed(command: str) -> str | None:
    """What a command needs that a test has not; None: nothing."""
    return next((what for pattern, what in NEEDS.items() if re.search(pattern, command)), None)
