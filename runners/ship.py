"""Put trained weights where the repository ships them, with an entry in the registry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.files import write_atomically
from models import checkpoints
from runners.run import RunContext


def ship_checkpoint(name: str, context: RunContext, weights: Path, record: Mapping[str, Any]) -> None:
    """Copy a weights file to checkpoints/<name>.safetensors and enter it in the registry, each atomically.

    Args:
        name: the checkpoint's name, for ``checkpoint:`` in configs.
        context: the training run's.
        weights: the file.
        record: what the run's results.json says.
    """
    content = weights.read_bytes()
    config = record["config"]
    entry = {
        "file": f"{name}.safetensors",
        "model": config["model"]["name"],
        "dataset": config["data"]["name"],
        "bits_per_dim": record["held_out_bits_per_dim"],
        "epochs": record["history"][-1]["epoch"],
        "seed": record["seed"],
        "retrain": f"python main.py --runner {context.runner} --config {context.name}.yml --set checkpoint_name={name}",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    entries = {**checkpoints.registry(), name: entry}
    write_atomically(checkpoints.CHECKPOINTS / entry["file"], content)
    text = json.dumps(dict(sorted(entries.items())), indent=2)
    write_atomically(checkpoints.CHECKPOINTS / "registry.json", (text + "\n").encode())
