"""Put trained weights where the repository ships them, with an entry in the registry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.weights.registry import ship
from runners.experiment import RunContext


def ship_checkpoint(name: str, context: RunContext, weights: Path, model: str, info: Mapping[str, Any]) -> None:
    """Copy a weights file to checkpoints/<name>.safetensors and enter it in the registry, each atomically.

    Args:
        name: the checkpoint's name, for ``checkpoint:`` in configs.
        context: the training run's.
        weights: the file.
        model: the model's name in ``models.MODELS``.
        info: what the file says of itself.
    """
    content = weights.read_bytes()
    entry = {
        "file": f"{name}.safetensors",
        "model": model,
        **{key: value for key, value in info.items() if key != "config"},
        "retrain": f"python main.py --runner {context.runner} --config {context.name}.yml --set checkpoint_name={name}",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    ship(name, entry, content)
