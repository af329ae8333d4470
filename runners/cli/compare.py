"""--compare: results of several runs side by side, as a table and a picture, and whether they answer the same."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from common.paths import RESULTS, user_path
from runners.cli.flags import SILENT
from runners.cli.folder import RESULTS_FILE, check_folder
from runners.cli.publish import publish
from runners.cli.reference import check_reference
from runners.compare.folders import chosen_folders, read_alike
from runners.compare.report import KIND, comparison_report
from runners.compare.verdict import judge
from runners.config.schema import UsageError
from runners.experiment import RunContext

_NAME = "compare"


def compare(options: argparse.Namespace, console: Console) -> None:
    """Compare the results that ``options.compare`` names, and write what comes out to a folder of its own.

    Raises UsageError where they cannot be compared, RunFailure where the same was asked and the answer is another.
    """
    groups = {title: read_alike(folders) for title, folders in chosen_folders(options.compare).items()}
    out = user_path(options.out) if options.out else RESULTS / _NAME
    check_reference(out)
    check_folder(out)
    _check_no_run(out)
    console.quiet = options.verbose in SILENT
    report = comparison_report([judge(title, runs) for title, runs in groups.items()])
    publish(report, RunContext("--compare", _NAME, out.absolute(), console, all_columns=options.verbose == "debug"))


def _check_no_run(out: Path) -> None:
    """Refuse to write over the results of a run, of which a comparison would take the place. Raises UsageError."""
    path = out / RESULTS_FILE
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("kind") != KIND:
        raise UsageError(f"--out {out} holds the results of a run; a comparison needs a folder of its own")
