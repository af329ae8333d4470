"""Put trained weights where the repository ships them, with an entry in the registry."""

from __future__ import annotations

import hashlib
from pathlib import Path

from models.weights.load import load_checkpoint
from models.weights.registry import registry, ship
from runners.config.schema import UsageError
from runners.experiment import RunContext


def check_name(name: str, context: RunContext) -> None:
    """Raise UsageError where the registry has weights of that name which another config gave."""
    retrain = registry().get(name, {}).get("retrain")
    if retrain not in (None, _command(name, context)):
        raise UsageError(
            f"checkpoint_name {name!r}: the registry has weights of this name from another config ({retrain}); choose "
            "another name, or take its entry out of checkpoints/registry.json"
        )


def ship_checkpoint(name: str, context: RunContext, weights: Path) -> None:
    """Copy a file of weights to checkpoints/<name>.safetensors and enter it in the registry, each atomically.

    Raises UsageError as ``check_name``: another run may have taken the name in the meantime.
    """
    check_name(name, context)
    content, checkpoint = weights.read_bytes(), load_checkpoint(str(weights))
    entry = {
        "file": f"{name}.safetensors",
        "model": checkpoint.name,
        **{key: value for key, value in checkpoint.info.items() if key != "config"},
        "retrain": _command(name, context),
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    ship(name, entry, content)


def _command(name: str, context: RunContext) -> str:
    """The command that gives these weights again."""
    return f"python main.py --runner {context.runner} --config {context.name}.yml --set checkpoint_name={name}"
