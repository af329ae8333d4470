"""State dicts of torch, as arrays by name, read without running anything that the file brings along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.weights.checkpoint import CheckpointError


def read_torch_state(path: Path) -> dict[str, np.ndarray]:
    """A ``.pth`` file's tensors by name. Raises CheckpointError unless it is a state dict."""
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # what a damaged file raises depends on where the damage is
        raise CheckpointError(f"{path} is damaged, or holds other things than a torch state dict") from None
    named = isinstance(loaded, dict) and all(isinstance(key, str) for key in loaded)
    if not named or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise CheckpointError(f"{path} is not a torch state dict: expected tensors by name")
    return {key: _as_array(value) for key, value in loaded.items()}


def _as_array(tensor: Any) -> np.ndarray:
    """A torch tensor's values; numpy has no bfloat16."""
    tensor = tensor.detach()
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array
