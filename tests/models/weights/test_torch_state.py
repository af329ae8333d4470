"""State dicts as people have them: beside other things, under prefixes, in every type, and what is no such thing."""

from __future__ import annotations

import argparse
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.weights.checkpoint import CheckpointError
from models.weights.importers.torch_state import read_torch_state
from models.weights.load import load_checkpoint

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file

KERNEL = torch.tensor([[1.0, -2.5], [0.5, 3.0]])
STATE = {"a.weight": KERNEL, "a.bias": torch.tensor([0.25, 7.0])}


def prefixed(prefix: str, state: Any = STATE) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


def saved(folder: Path, what: Any, **options: Any) -> Path:
    torch.save(what, folder / "w.pth", **options)
    return folder / "w.pth"


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_torch_state(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence.removeprefix(str(path))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "what",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "arch": "densenet"},
        {"model": STATE, "optimizer": {}},
        {"model": STATE, "ema": STATE},
        {"params": STATE},
        prefixed("module."),
        {"state_dict": prefixed("module."), "epoch": 3},
        prefixed("module._orig_mod."),
        {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.5.0", "hyper_parameters": {}},
        {"model": STATE, "best": np.float64(0.5), "epoch": np.int64(3), "rate": np.float32(0.1), "done": np.True_},
        {key: torch.nn.Parameter(value) for key, value in STATE.items()},
    ],
)
def test_state_dicts_are_found(tmp_path: Path, what: Any, zipped: bool) -> None:
    found = read_torch_state(saved(tmp_path, what, _use_new_zipfile_serialization=zipped))
    assert found.keys() == STATE.keys()
    for key, tensor in STATE.items():
        np.testing.assert_array_equal(found[key], tensor.numpy())


KINDS = ("float16", "bfloat16", "float32", "float64", "float8_e5m2", "int8", "int64", "uint8")


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_every_type(tmp_path: Path, kind: str) -> None:
    tensor = torch.tensor([[1, 2], [3, 4]]).to(getattr(torch, kind))
    np.testing.assert_array_equal(read_torch_state(saved(tmp_path, {"a": tensor}))["a"], [[1, 2], [3, 4]])


@pytest.mark.filterwarnings("ignore")  # torch's own, of kinds that it would rather not have
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KERNEL + 1j, ": entry 'a' holds complex64; expected real numbers"),
        (lambda: KERNEL.to_sparse(), ": entry 'a' is sparse coo; expected a dense tensor, as tensor.to_dense() gives"),
        (lambda: KERNEL.to("meta"), ": entry 'a' has no values: it was saved on the device 'meta'"),
        (lambda: torch.quantize_per_tensor(KERNEL, 0.1, 0, torch.qint8), ": entry 'a' is quantized (qint8); expected"),
        (lambda: 3, " is not a torch state dict: expected tensors by name, entry 'a' is int"),
        (lambda: np.float64(0.5), " is not a torch state dict: expected tensors by name, entry 'a' is float64"),
        (
            lambda: np.zeros(2),
            " holds numpy._core.multiarray._reconstruct, which is not loaded, as it may run code; save",
        ),
        (lambda: argparse.Namespace(lr=1), " holds argparse.Namespace, which is not loaded"),
    ],
)
def test_entries_of_other_kinds_are_named(tmp_path: Path, make: Any, words: str) -> None:
    assert refused(saved(tmp_path, {**STATE, "a": make()})).startswith(words)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ([1, 2], " is not a torch state dict: expected tensors by name"),
        ({"generator": STATE, "step": 1}, " holds state dicts under 'generator'; save the one that is wanted alone"),
        ({"model": STATE, "net": STATE}, " holds state dicts under 'model', 'net'; save the one that is wanted alone"),
        ({"state_dict": {}}, " is not a torch state dict: expected tensors by name, entry 'state_dict' is dict"),
    ],
)
def test_files_without_one_state_dict(tmp_path: Path, what: Any, words: str) -> None:
    assert refused(saved(tmp_path, what)) == words


def test_checksums_are_compared_where_there_are_any(tmp_path: Path) -> None:
    path = saved(tmp_path, STATE)
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data/0"))
        content = archive.read(name)
    damaged = bytearray(path.read_bytes())
    damaged[path.read_bytes().index(content)] ^= 1
    path.write_bytes(damaged)
    assert refused(path) == " is damaged, or holds other things than a torch state dict"
    torch.serialization.set_crc32_options(False)
    try:
        assert read_torch_state(saved(tmp_path, STATE)).keys() == STATE.keys()
    finally:
        torch.serialization.set_crc32_options(True)


@pytest.mark.filterwarnings("ignore")  # torch would rather not have TorchScript
def test_archives_of_code_are_called_so(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    (tmp_path / "w.pth").write_bytes(buffer.getvalue())
    assert refused(tmp_path / "w.pth").startswith(" is a TorchScript archive, which holds code; save")


def made(**change: Any) -> dict[str, Any]:
    """A MADE of two pixels and three hidden units."""
    first, second = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[0.0] * 3, [1.0] * 3] * 2)
    state = {
        **{f"net.0.{part}": x for part, x in (("weight", first * 0.5), ("bias", torch.zeros(3)), ("mask", first))},
        **{f"net.2.{part}": x for part, x in (("weight", second * 2), ("bias", torch.ones(4)), ("mask", second))},
    }
    return state | {key.replace("__", "."): value for key, value in change.items()}


@pytest.mark.parametrize("kind", ["uint8", "bool", "float16", "float32"])
def test_masks_of_any_type(tmp_path: Path, kind: str) -> None:
    state = {key: x.to(getattr(torch, kind)) if key.endswith("mask") else x for key, x in made().items()}
    layer = load_checkpoint(str(saved(tmp_path, state)), {"name": "made"}).model.layers[0]
    np.testing.assert_array_equal(layer.mask[...], [[True, False]] * 3)
    np.testing.assert_array_equal(layer.kernel[...], [[0.5, 0.0]] * 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"net__0__weight": KERNEL.new_full((3, 2), torch.nan)},
            "entry 'net.0.weight' holds nan; weights must be finite",
        ),
        ({"net__2__bias": torch.full((4,), -torch.inf)}, "entry 'net.2.bias' holds -inf; weights must be finite"),
        (
            {"net__0__bias": torch.full((3,), 1e300, dtype=torch.float64)},
            "entry 'net.0.bias' holds 1e+300, beyond float32",
        ),
        ({"net__0__mask": torch.tensor([[0.5, 0.0]] * 3)}, "entry 'net.0.mask' holds 0.5; expected 0 and 1"),
        ({"net__0__mask": torch.full((3, 2), torch.nan)}, "entry 'net.0.mask' holds nan; weights must be finite"),
        ({"net__²__bias": torch.zeros(3)}, "unexpected entry 'net.².bias' of shape (3,)"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = saved(tmp_path, made(**change))
    with pytest.raises(CheckpointError, match=re.escape(f"{path}: {words}")):
        load_checkpoint(str(path), {"name": "made"})


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.ckpt", "w.pth.tar", "w.PTH", "w.bin", "w.PT", "w.th"])
def test_files_of_torch_by_any_name(tmp_path: Path, name: str) -> None:
    torch.save({"state_dict": prefixed("module.", made()), "epoch": 3}, tmp_path / name)
    check_made(tmp_path / name)


@pytest.mark.parametrize("name", ["w.safetensors", "w.SafeTensors"])
@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_of_torch_in_safetensors(tmp_path: Path, name: str, metadata: dict[str, str] | None, kind: str) -> None:
    state = {key: x.to(getattr(torch, kind)).contiguous().clone() for key, x in prefixed("module.", made()).items()}
    save_file(state, tmp_path / name, metadata)
    check_made(tmp_path / name)


def check_made(path: Path) -> None:
    layer = load_checkpoint(str(path), {"name": "made"}).model.layers[0]
    np.testing.assert_array_equal(layer.mask[...], [[True, False]] * 3)
    np.testing.assert_array_equal(layer.kernel[...], [[0.5, 0.0]] * 3)


def test_entries_of_safetensors_that_are_not_read_are_named(tmp_path: Path) -> None:
    save_file({**made(), "net.0.bias": torch.zeros(3).to(torch.float8_e5m2)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=re.escape("entry 'net.0.bias' holds F8_E5M2, a type that is not read")):
        load_checkpoint(str(tmp_path / "w.safetensors"), {"name": "made"})


@pytest.mark.parametrize("suffix", [".pth", ".PT"])
def test_whose_weights_they_are_is_asked_for(tmp_path: Path, suffix: str) -> None:
    torch.save(made(), tmp_path / f"w{suffix}")
    words = (
        f"a {suffix} file does not tell whose weights it has; add model: {{name: made}} or model: {{name: densenet}}"
    )
    with pytest.raises(CheckpointError, match=re.escape(words)):
        load_checkpoint(str(tmp_path / f"w{suffix}"))
