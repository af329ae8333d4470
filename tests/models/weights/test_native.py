"""Our own files: only finite numbers are written and read, and what the metadata says is not believed blindly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from models import build
from models.weights.checkpoint import CheckpointError, flat_state
from models.weights.load import load_checkpoint
from models.weights.native import save_checkpoint

MADE = {"name": "made", "num_inputs": 9, "hidden_sizes": [5]}
NAME = "layers.0.kernel"


def changed(path: Path, entry: Any = None, **metadata: Any) -> str:
    """A file of a small MADE with another kernel or other metadata."""
    save_checkpoint(path, "made", build(MADE, seed=0), {})
    with safe_open(path, framework="numpy") as file:
        said = file.metadata() | {key: json.dumps(value) for key, value in metadata.items()}
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if entry is not None:
        arrays[NAME] = entry(arrays[NAME])
    save_file(arrays, path, said)
    return str(path)


def one(value: Any, kind: Any = np.float32) -> Any:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(kind)
        array[2, 1] = value
        return array

    return change


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (one(np.nan), "holds nan; weights must be finite"),
        (one(np.inf, np.float16), "holds inf; weights must be finite"),
        (one(-np.inf, ml_dtypes.bfloat16), "holds -inf; weights must be finite"),
        (one(-1e300, np.float64), "holds -1e+300, beyond float32"),
        (one(1j, np.complex64), "holds complex64; expected real numbers"),
        (lambda array: array > 0, "holds bool; expected real numbers"),
    ],
)
def test_numbers_that_are_no_weights_are_not_read(tmp_path: Path, entry: Any, words: str) -> None:
    path = changed(tmp_path / "w.safetensors", entry)
    with pytest.raises(CheckpointError, match=re.escape(f"{path}: entry '{NAME}' {words}")):
        load_checkpoint(path)


@pytest.mark.parametrize("kind", [ml_dtypes.bfloat16, np.float16, np.float64, np.int32])
def test_numbers_of_other_types_are_read(tmp_path: Path, kind: Any) -> None:
    path = changed(tmp_path / "w.safetensors", lambda array: (8 * array).astype(kind))
    with safe_open(path, framework="numpy") as file:
        expected = file.get_tensor(NAME).astype(np.float32)
    np.testing.assert_array_equal(flat_state(load_checkpoint(path).model)[NAME], expected)


def test_types_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match="entry 'a' holds F8_E4M3, a type that is not read"):
        load_checkpoint(str(path))


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (70_000.0, np.float16, "holds 70000.0, beyond float16"),
        (np.nan, np.float32, "holds nan; weights must be finite"),
        (np.inf, np.float32, "holds inf; weights must be finite"),
    ],
)
def test_numbers_that_are_no_weights_are_not_written(tmp_path: Path, value: float, dtype: Any, words: str) -> None:
    model = build(MADE, seed=0)
    model.layers[0].kernel[...] = model.layers[0].kernel[...].at[1, 2].set(value)
    with pytest.raises(CheckpointError, match=re.escape(f"w.safetensors is not written: entry '{NAME}' {words}")):
        save_checkpoint(tmp_path / "w.safetensors", "made", model, {}, dtype)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"packed_shapes": {"layers.0.mask": "5 9"}}, "entry 'layers.0.mask' has no valid shape in the metadata's"),
        ({"packed_shapes": {"layers.0.mask": [-5, -9]}}, "entry 'layers.0.mask' has no valid shape"),
        (
            {"packed_shapes": {"layers.0.mask": [2**40, 2**40]}},
            "entry 'layers.0.mask' is uint8 of shape (6,); expected",
        ),
        ({"architecture": {**MADE, "num_inputs": 10**30}}, "model made: num_inputs should be at most 2,147,483,647"),
        ({"architecture": {**MADE, "clamp_lambda": float("nan")}}, "model made: clamp_lambda must be in (0, 0.5)"),
        ({"architecture": {**MADE, "name": []}}, "unknown model '[]'"),
    ],
)
def test_metadata_that_make_no_sense(tmp_path: Path, metadata: Any, words: str) -> None:
    path = changed(tmp_path / "w.safetensors", **metadata)
    with pytest.raises(CheckpointError, match=re.escape(f"{path}: {words}")):
        load_checkpoint(path)
