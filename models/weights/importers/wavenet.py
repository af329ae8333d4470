"""Fast WaveNet's weights: its variables by name in an .npz, with ``/`` written as ``__``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from common.npz import open_npz
from models.wavenet.model import WaveNet
from models.weights.checkpoint import Checkpoint, CheckpointError, restore_state
from models.weights.importers.checks import agreed_config, refuse_others, take_entry

_LAYER = re.compile(r"b([0-9]{1,4})-l([0-9]{1,4})__w")
_RECORDED = ("ids", "x0", "inputs", "logits", "config")  # what a recorded run has beside the variables


def import_wavenet(path: Path, expected: Mapping[str, Any]) -> Checkpoint:
    """A plain WaveNet from ``b{block}-l{layer}__w`` (width, in, out), the oldest input's filter first, ``w`` and ``b``.

    The shapes tell all of the architecture; layer l of every block has the dilation 2^l. Classes stand for evenly
    spaced values. Arrays of a recorded run (``ids``, ``x0``, ``inputs``, ``logits``, ``config``) are not read.
    """
    source = str(path)
    with open_npz(path, source, CheckpointError) as file:
        state = {key: file[key] for key in file if key not in _RECORDED}
    names = _layer_names(state, source)
    first = take_entry(state, names[0][0], ("width", 1, "hidden"), source)
    width, _, channels = first.shape
    output = take_entry(state, "w", (1, channels, "classes"), source)
    bias = take_entry(state, "b", output.shape[-1:], source)
    kernels = [take_entry(state, name, (width, channels, channels), source) for name, _ in names[1:]]
    refuse_others(state, {"w", "b", *(name for name, _ in names)}, source)
    found = {
        "name": "wavenet",
        "block": "plain",
        "dilations": [2**layer for _, layer in names],
        "filter_width": width,
        "num_hidden": channels,
        "num_classes": output.shape[-1],
        "quantization": "linear",
        "input": "scalar",
    }
    model = WaveNet(agreed_config(source, found, expected), rngs=nnx.Rngs(0))
    arrays = {"first": first[::-1], "readout.kernel": output[0], "readout.bias": bias}
    arrays |= {f"layers.{index}.kernel": kernel[::-1] for index, kernel in enumerate(kernels)}
    restore_state(model, arrays, source)
    return Checkpoint("wavenet", model, {"imported_from": path.name})


def _layer_names(state: Mapping[str, np.ndarray], source: str) -> list[tuple[str, int]]:
    """Names of the layers in order, and each layer's place in its block. Raises CheckpointError if one is missing."""
    places = sorted((int(m[1]), int(m[2])) for m in map(_LAYER.fullmatch, state) if m)
    blocks = 1 + max((block for block, _ in places), default=0)
    layers = 1 + max((layer for _, layer in places), default=0)
    for block in range(blocks):
        for layer in range(layers):
            if (block, layer) not in places:
                raise CheckpointError(
                    f"{source}: entry 'b{block}-l{layer}__w' is missing; expected {layers} layers in {blocks} blocks"
                )
    return [(f"b{block}-l{layer}__w", layer) for block, layer in places]
