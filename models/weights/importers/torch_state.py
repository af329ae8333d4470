"""State dicts of torch, as arrays by name, read without running anything that the file brings along."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.reading import reading
from models.weights.checkpoint import CheckpointError
from models.weights.tensors import read_tensors

# The names under which trainings keep a state dict beside other things, and the prefixes of wrapped modules' entries.
_USUAL = ("state_dict", "model_state_dict", "model", "params", "net", "network", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")  # of torch.nn.DataParallel, torch.compile and PyTorch Lightning
_NUMBERS = np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"  # numpy's types, a letter each
_ALONE = "save the state dict alone, torch.save(model.state_dict(), ...)"


def read_torch_state(path: Path) -> dict[str, np.ndarray]:
    """The tensors by name of a file that torch has written, or of a ``.safetensors`` file: real numbers.

    A state dict that a training has saved beside other things is found, numpy's scalars among them, and the prefix
    ``module.`` of a network that was trained in parallel is taken off.

    Raises:
        CheckpointError: it is no state dict, is damaged, or has an entry that is no dense tensor of real numbers.
    """
    if path.suffix.lower() == ".safetensors":
        _, arrays = read_tensors(path, "is not a readable safetensors file", CheckpointError)
        return dict(_without_prefix(arrays))
    import torch

    with reading(path, "is damaged, or holds other things than a torch state dict", CheckpointError, why=False):
        if zipfile.is_zipfile(path):
            _check_archive(path)
        try:
            with torch.serialization.safe_globals(_scalars()):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if found := re.search(r"GLOBAL (\S+) was not an allowed global", str(error)):
                raise CheckpointError(
                    f"{path} holds {found[1]}, which is not loaded, as it may run code; {_ALONE}"
                ) from None
            raise
    state = _without_prefix(_state_dict(loaded, str(path)))
    return {key: _as_array(tensor, f"{path}: entry {key!r}") for key, tensor in state.items()}


def _scalars() -> list[Any]:
    """What makes numpy's scalars of a file, which are numbers and run nothing; older files call it otherwise."""
    scalar = np.float32(0).__reduce__()[0]
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *{type(np.dtype(kind)) for kind in _NUMBERS}]


def _check_archive(path: Path) -> None:
    """Compare the checksums, which torch leaves out. Raises BadZipFile; files may have been saved without any."""
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise CheckpointError(f"{path} is a TorchScript archive, which holds code; {_ALONE}")
        if any(info.CRC for info in archive.infolist()) and (damaged := archive.testzip()):
            raise zipfile.BadZipFile(damaged)


def _state_dict(loaded: Any, source: str) -> Mapping[str, Any]:
    """The one dict of tensors in what a file holds. Raises CheckpointError."""
    if _is_state(loaded):
        return loaded
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise CheckpointError(f"{source} is not a torch state dict: expected tensors by name")
    nested = [key for key, value in loaded.items() if _is_state(value) and value]
    usual = [key for key in nested if key in _USUAL]
    if len(usual) == 1:
        return loaded[usual[0]]
    if nested:
        names = ", ".join(map(repr, nested))
        raise CheckpointError(f"{source} holds state dicts under {names}; save the one that is wanted alone")
    key, value = next((key, value) for key, value in loaded.items() if not _is_tensor(value))
    raise CheckpointError(
        f"{source} is not a torch state dict: expected tensors by name, entry {key!r} is {type(value).__name__}"
    )


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) and _is_tensor(item) for key, item in value.items())


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _without_prefix(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entries by the names that they have in the network itself."""
    while prefix := next((p for p in _PREFIXES if state and all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _as_array(tensor: Any, source: str) -> np.ndarray:
    """A tensor's values, in float32 where numpy has no such type. Raises CheckpointError unless it has real ones."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        raise CheckpointError(f"{source} has no values: it was saved on the device 'meta'")
    if tensor.is_quantized:
        raise CheckpointError(f"{source} is quantized ({kind}); expected plain numbers, as tensor.dequantize() gives")
    if str(tensor.layout) != "torch.strided" or tensor.is_nested:
        form = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.").replace("_", " ")
        raise CheckpointError(f"{source} is {form}; expected a dense tensor, as tensor.to_dense() gives")
    if tensor.is_complex():
        raise CheckpointError(f"{source} holds {kind}; expected real numbers")
    try:
        wide = kind in ("float16", "float32", "float64") or not tensor.is_floating_point()
        array: np.ndarray = (tensor if wide else tensor.float()).numpy(force=True)
    except (TypeError, RuntimeError):
        raise CheckpointError(f"{source} holds {kind}, a type that is not read") from None
    return array
