"""Where the project's own folders lie, whichever folder it is run from."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
CHECKPOINTS = ROOT / "checkpoints"  # the shipped weights and their registry
RESULTS = ROOT / "plot_data"  # a run's results go to a folder here, unless --out says otherwise
RUNS = ROOT / "runs"  # the state of trainings that are not finished
