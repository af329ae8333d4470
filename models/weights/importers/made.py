"""MADE's published weights: a torch state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from models.made.model import MADE, sort_by_degree
from models.weights.checkpoint import Checkpoint, CheckpointError, restore_state
from models.weights.importers.checks import agreed_config, refuse_others, take_entry
from models.weights.importers.torch_state import read_torch_state

_LAYER = re.compile(r"net\.([0-9]{1,4})\.")


def import_made(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """MADE from a torch state dict: ``net.{0,2,4,...}.{weight,bias,mask}``, (outputs, inputs), means then log-scales.

    The stored masks are used. The shapes tell num_inputs and hidden_sizes; clamp_lambda comes from ``expected``.
    """
    state = read_torch_state(path)
    layers = _made_layers(state, str(path))
    found = {
        "num_inputs": layers[0][0].shape[1],
        "hidden_sizes": [kernel.shape[0] for kernel, _, _ in layers[:-1]],
    }
    model = MADE(agreed_config(str(path), found, expected), rngs=nnx.Rngs(0))
    arrays: dict[str, np.ndarray] = {}
    for index, (kernel, bias, mask) in enumerate(sort_by_degree(layers)):
        arrays |= {f"layers.{index}.kernel": kernel, f"layers.{index}.bias": bias, f"layers.{index}.mask": mask}
    restore_state(model, arrays, str(path))
    return Checkpoint("made", model, {"imported_from": path.name})


def _made_layers(state: Mapping[str, np.ndarray], source: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    indices = sorted({int(found[1]) for found in map(_LAYER.match, state) if found})
    if len(indices) < 2 or indices != list(range(0, 2 * len(indices), 2)):
        raise CheckpointError(
            f"{source}: expected entries net.0, net.2, net.4, ...; found {', '.join(sorted(state)) or 'none'}"
        )
    refuse_others(state, {f"net.{i}.{part}" for i in indices for part in ("weight", "bias", "mask")}, source)
    inputs = below = take_entry(state, "net.0.weight", ("outputs", "inputs"), source).shape[-1]
    layers = []
    for index in indices:
        outputs: int | str = 2 * inputs if index == indices[-1] else "outputs"
        kernel = take_entry(state, f"net.{index}.weight", (outputs, below), source)
        bias = take_entry(state, f"net.{index}.bias", kernel.shape[:1], source)
        mask = take_entry(state, f"net.{index}.mask", kernel.shape, source, bool)
        layers.append((kernel, bias, mask))
        below = kernel.shape[0]
    return layers
