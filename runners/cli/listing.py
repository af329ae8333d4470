"""What there is: runners, configs, checkpoints, solvers and which solver goes with which system.

What is said of classes is read from their source: nothing is imported that takes a while, so it answers at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.paths import CHECKPOINTS, CONFIGS, RESULTS
from models import PROBLEMS, SYSTEMS
from models.weights.downloads import Download, downloaded, downloads
from runners import RUNNERS
from runners.cli.source import Place, classes_in, first_sentence, members, value_of
from runners.report.shipped import folder_of
from runners.report.units import format_bytes, format_duration

_CHECKPOINTS = CHECKPOINTS / "registry.json"
_WIDTH = 34
_ANY = {"any x -> F(x) (from_function)": "solvers.systems.function:FunctionSystem"}  # beside the systems of models
# The figures of merit that entries of the registry have, one each.
_MERITS = {
    "bits_per_dim": "{:.3f} bits/dim",
    "held_out_accuracy": "{:.1%} of held-out images right",
    "held_out_cross_entropy": "{:.3f} nats a character",
    "cross_entropy": "{:.3f} nats a sample",
    "denoising_loss": "{:.3f} squared error of the velocity",
}


def print_listing() -> None:
    """Print it all to standard output."""
    print("runners (--runner), and their configs (--config) with the time that a run took where it is recorded")
    configs = sorted(CONFIGS.glob("*.yml"))
    for name, place in RUNNERS.places.items():
        print(f"  {name:<{_WIDTH}} {first_sentence(Place.of(place))}")
        for path in configs:
            if _runner(path) == name:
                print(f"    {path.name:<{_WIDTH - 2}} {_took(path):<13} {_first_comment(path)}")
    print("\ncheckpoints (checkpoint: in a config)")
    for name, entry in json.loads(_CHECKPOINTS.read_text()).items():
        print(f"  {name:<{_WIDTH}} {entry['model']} on {entry['dataset']}, {_merit(entry)}")
    print("\npublished weights (--download, then checkpoint: in a config)")
    for name, download in downloads().items():
        print(f"  {name:<{_WIDTH}} {_describe(download)}")
    print("\nsystems (system: in a config of SystemRunner)")
    for name, place in PROBLEMS.places.items():
        print(f"  {name:<{_WIDTH}} {first_sentence(Place.of(place))}")
    print("\nsolvers (solvers: in a config), what they need, and what has it")
    for name, needed, systems in solvable():
        print(f"  {name:<{_WIDTH}} {needed + ':':<20} {', '.join(systems)}")
    print(f"  {'auto':<{_WIDTH}} {first_sentence(Place('runners.config.auto', 'Auto'))}")


def solvable() -> Iterator[tuple[str, str, list[str]]]:
    """Each solver, the protocol that it needs, and the systems that have all members of that protocol."""
    systems = {name: members(Place.of(place)) for name, place in {**SYSTEMS.places, **_ANY}.items()}
    for name, solver in classes_in(Place("solvers.table", "SOLVERS")).items():
        needed = value_of(solver, "requires")
        wanted = members(Place("solvers.system", needed))
        yield name, needed, [system for system, own in systems.items() if wanted <= own]


def _merit(entry: dict[str, Any]) -> str:
    return next(text.format(entry[key]) for key, text in _MERITS.items() if key in entry)


def _describe(entry: Download) -> str:
    model = entry.model if isinstance(entry.model, str) else entry.model["name"]
    path = downloaded(entry)
    if path is not None:
        size = format_bytes(path.stat().st_size)
    elif entry.format == "file" and entry.size is not None:
        size = format_bytes(entry.size)
    else:
        size = "size unknown" if entry.approximate_mib is None else f"about {entry.approximate_mib:.0f} MiB"
    return f"{model}, {'downloaded' if path else 'not downloaded'}, {size}, licence {entry.licence}"


def _runner(path: Path) -> str | None:
    """The runner that a config names."""
    named = re.search(r"^runner: *(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return named[1] if named else None


def _took(path: Path) -> str:
    """The time that the last run of a config took, or else that which ships; a dash where neither tells."""
    results = folder_of(path.stem, RESULTS) / "results.json"
    try:
        return format_duration(json.loads(results.read_text(encoding="utf-8"))["wall_s"])
    except (OSError, ValueError, KeyError):
        return "-"


def _first_comment(path: Path) -> str:
    line = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return line.removeprefix("#").strip() if line.startswith("#") else ""
