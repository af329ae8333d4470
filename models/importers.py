"""Weights in foreign formats, read without running anything that the file brings along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from models import ModelError, model_class, model_config
from models.checkpoints import Checkpoint, CheckpointError, check_agreement, restore_state


def load_foreign(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """Load a foreign checkpoint by its suffix and the config's model name. Raises CheckpointError."""
    key = (path.suffix, str(expected.get("name")))
    if key not in IMPORTERS:
        known = ", ".join(f"{suffix} with model name {name}" for suffix, name in IMPORTERS)
        raise CheckpointError(
            f"{path}: no importer for {path.suffix!r} with model name {key[1]}; valid: {known}, .safetensors"
        )
    return IMPORTERS[key](path, expected)


def import_made(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """MADE from a torch state dict: ``net.{0,2,4,...}.{weight,bias,mask}``, (outputs, inputs), means then log-scales.

    The stored masks are used. The shapes tell num_inputs and hidden_sizes; clamp_lambda comes from ``expected``.
    """
    from models.made import sort_by_degree

    state = _torch_state(path)
    layers = _made_layers(state, str(path))
    found = {
        "num_inputs": layers[0][0].shape[1],
        "hidden_sizes": [kernel.shape[0] for kernel, _, _ in layers[:-1]],
    }
    check_agreement(str(path), found, {key: value for key, value in expected.items() if key != "name"})
    try:
        config = model_config({**expected, **found})
    except ModelError as error:
        raise CheckpointError(f"{path}: {error}") from None
    model = model_class("made")(config, rngs=nnx.Rngs(0))
    arrays: dict[str, np.ndarray] = {}
    for index, (kernel, bias, mask) in enumerate(sort_by_degree(layers)):
        arrays |= {f"layers.{index}.kernel": kernel, f"layers.{index}.bias": bias, f"layers.{index}.mask": mask}
    restore_state(model, arrays, str(path))
    return Checkpoint("made", model, {"imported_from": path.name}, path)


IMPORTERS: dict[tuple[str, str], Callable[[Path, Mapping[str, Any]], Checkpoint]] = {
    (".pth", "made"): import_made,
}


def _torch_state(path: Path) -> dict[str, np.ndarray]:
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


def _made_layers(state: Mapping[str, np.ndarray], source: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    indices = sorted(
        {int(key.split(".")[1]) for key in state if key.startswith("net.") and key.split(".")[1].isdigit()}
    )
    if len(indices) < 2 or indices != list(range(0, 2 * len(indices), 2)):
        raise CheckpointError(
            f"{source}: expected entries net.0, net.2, net.4, ...; found {', '.join(sorted(state)) or 'none'}"
        )
    wanted = {f"net.{index}.{part}" for index in indices for part in ("weight", "bias", "mask")}
    for key in sorted(state.keys() - wanted):
        raise CheckpointError(f"{source}: unexpected entry {key!r} of shape {state[key].shape}")
    inputs = below = _entry(state, "net.0.weight", ("outputs", "inputs"), source).shape[-1]
    layers = []
    for index in indices:
        outputs: int | str = 2 * inputs if index == indices[-1] else "outputs"
        kernel = _entry(state, f"net.{index}.weight", (outputs, below), source)
        bias = _entry(state, f"net.{index}.bias", kernel.shape[:1], source)
        mask = _entry(state, f"net.{index}.mask", kernel.shape, source)
        layers.append((kernel.astype(np.float32), bias.astype(np.float32), mask.astype(bool)))
        below = kernel.shape[0]
    return layers


def _entry(state: Mapping[str, np.ndarray], key: str, shape: tuple[int | str, ...], source: str) -> np.ndarray:
    """An array by its name. Raises CheckpointError unless it is there and shaped so; words stand for any length."""
    expected = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    if key not in state:
        raise CheckpointError(f"{source}: entry {key!r} is missing; expected shape {expected}")
    found = state[key].shape
    lengths = zip(found, shape, strict=False)
    if len(found) != len(shape) or not all(isinstance(want, str) or have == want for have, want in lengths):
        raise CheckpointError(f"{source}: entry {key!r} has shape {found}; expected {expected}")
    return state[key]
