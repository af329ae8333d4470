"""What there is: runners, configs, checkpoints, solvers and which solver goes with which system.

Imports neither flax nor torch, so that it answers at once.
"""

from __future__ import annotations

import json
from pathlib import Path

from models.downloads import Download, downloaded, downloads
from runners import NOT_BUILT, RUNNERS
from runners.config import CONFIGS
from runners.units import format_bytes
from solvers import SOLVERS
from solvers.system import BlockSystem, MarkovSystem, TriangularSystem

_CHECKPOINTS = Path(__file__).resolve().parent.parent / "checkpoints" / "registry.json"

_SYSTEMS: dict[str, str] = {
    "TriangularSystem": "any x -> F(x), for example from_function",
    "BlockSystem": "made",
    "MarkovSystem": "none yet",
}


def print_listing() -> None:
    """Print it all to standard output."""
    print("runners (--runner)")
    for name in RUNNERS:
        print(f"  {name}")
    for name in NOT_BUILT:
        print(f"  {name} (not built yet)")
    print("\nconfigs (--config)")
    for path in sorted(CONFIGS.glob("*.yml")):
        print(f"  {path.name:<28} {_first_comment(path)}")
    print("\ncheckpoints (checkpoint: in a config)")
    for name, entry in json.loads(_CHECKPOINTS.read_text()).items():
        print(f"  {name:<28} {entry['model']} on {entry['dataset']}, {entry['bits_per_dim']:.3f} bits/dim")
    print("\npublished weights (--download, then checkpoint: in a config)")
    for name, download in downloads().items():
        print(f"  {name:<28} {_describe(download)}")
    print("\nsolvers (solvers: in a config) and the systems that they solve")
    # A BlockSystem and a MarkovSystem are TriangularSystems too.
    wider: dict[type, dict[str, str]] = {
        TriangularSystem: _SYSTEMS,
        BlockSystem: {"BlockSystem": ""},
        MarkovSystem: {"MarkovSystem": ""},
    }
    for name, kind in SOLVERS.items():
        print(f"  {name:<28} {', '.join(wider[kind.requires])}")
    print("\nsystems")
    for name, models in _SYSTEMS.items():
        print(f"  {name:<28} {models}")


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


def _first_comment(path: Path) -> str:
    line = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return line.removeprefix("#").strip() if line.startswith("#") else ""
