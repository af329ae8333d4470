"""Damaged files of every format that is read: each is refused in one sentence, or read right.

    python -m tests.fuzz.files 10000 [seed]

The files are small and made here. What is read after damage must be what was written; where a format has no checksum
it may be other numbers, finite and of the right shapes.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
from flax import nnx
from flax.serialization import msgpack_serialize
from PIL import Image

from common.errors import UserError
from data.audio.wave_file import read_wave
from data.images import photographs
from models import build
from models.pixelcnnpp.model import PixelCNNPP
from models.pixelcnnpp.weight_norm import WeightNorm
from models.weights.archives import ArchiveError, open_archive
from models.weights.checkpoint import flat_state
from models.weights.importers import pixelcnnpp
from models.weights.importers.checks import refuse_others, take_entry
from models.weights.load import load_checkpoint
from models.weights.native import save_checkpoint
from models.weights.stream_state import load_state, save_state
from runners.config.arrays import open_arrays
from tests.kit.packed import tarred, zipped

SLOW_S = 20.0
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Format:
    """A kind of file, a whole one, and how it is read."""

    name: str  # of the file too
    content: bytes
    read: Callable[[Path], Arrays]
    has_checksum: bool
    share: int = 10  # how often it is damaged, relative to the others
    may_shrink: bool = False  # whether the length is told by the file alone


@dataclass(frozen=True)
class Result:
    """What came of a damaged file; ``fault`` is what should not have."""

    outcome: str  # refused, right, changed or fault
    fault: str = ""


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Some bits flipped, most likely where the headers are, or the end cut off."""
    if random.random() < 0.2:
        return content[: random.integers(len(content))]
    found = bytearray(content)
    for _ in range(random.integers(1, 5)):
        near = min(len(content), 300)
        place = (random.integers(near), len(content) - 1 - random.integers(near), random.integers(len(content)))
        found[place[random.integers(3)]] ^= 1 << random.integers(8)
    return bytes(found)


def try_file(kind: Format, content: bytes, path: Path, whole: Arrays) -> Result:
    """Read one file of other content."""
    path.write_bytes(content)
    begin = time.monotonic()
    try:
        found = kind.read(path)
    except (UserError, ArchiveError) as error:
        sentence = str(error)
        return Result("fault", f"no sentence: {sentence!r}") if "\n" in sentence or not sentence else Result("refused")
    except Exception:
        return Result("fault", traceback.format_exc())
    if time.monotonic() - begin > SLOW_S:
        return Result("fault", f"it took {time.monotonic() - begin:.0f} s")
    if found.keys() == whole.keys() and all(np.array_equal(found[name], whole[name]) for name in whole):
        return Result("right")
    if kind.has_checksum:
        return Result("fault", "other numbers than were written, in spite of the checksum")
    return Result("changed") if _is_sound(kind, found, whole) else Result("fault", "wrong shapes, or not finite")


def _is_sound(kind: Format, found: Arrays, whole: Arrays) -> bool:
    if found.keys() != whole.keys():
        return False
    return all(
        array.dtype == whole[name].dtype
        and np.isfinite(array).all()
        and (array.ndim == whole[name].ndim if kind.may_shrink else array.shape == whole[name].shape)
        for name, array in found.items()
    )


def fuzz(count: int, seed: int, folder: Path) -> tuple[dict[str, Counter[str]], list[str]]:
    """Damage ``count`` files. Returns how often which outcome there was, by format, and the faults."""
    kinds = formats(folder)
    whole = {}
    for kind in kinds:
        (folder / kind.name).write_bytes(kind.content)
        whole[kind.name] = kind.read(folder / kind.name)
    shares = np.array([kind.share for kind in kinds], float)
    outcomes: dict[str, Counter[str]] = {kind.name: Counter() for kind in kinds}
    faults = []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        kind = kinds[random.choice(len(kinds), p=shares / shares.sum())]
        result = try_file(kind, damaged(kind.content, random), folder / kind.name, whole[kind.name])
        outcomes[kind.name][result.outcome] += 1
        if result.fault:
            faults.append(f"file {number} of seed {seed}, {kind.name}: {result.fault}")
    return outcomes, faults


def formats(folder: Path) -> list[Format]:
    """All formats, with tiny files."""
    random = np.random.default_rng(0)
    arrays = {"noise": random.normal(size=(4, 9)), "ids": random.integers(0, 9, (3, 5)), "flag": np.array(True)}
    sound = np.sin(np.arange(60))
    return [
        Format("stored.npz", _written(np.savez, arrays), _read_npz, True),
        Format("compressed.npz", _written(np.savez_compressed, arrays), _read_npz, True),
        Format("wavenet.npz", _written(np.savez, _wavenet()), _reader({"name": "wavenet"}), True, share=2),
        Format("made.pth", _made_pth(True), _reader({"name": "made"}), True, share=5),
        Format("older.pth", _made_pth(False), _reader({"name": "made"}), False, share=4),
        Format("made.safetensors", _native(folder), _reader({}), False, share=5),
        _state(folder),
        Format("weights.flax", _flax(), _parameters, False),
        Format("pixelcnnpp.flax", _flax(), _reader({"name": "pixelcnnpp", "image_shape": [4, 4, 1]}), False, share=1),
        Format("pcm.wav", _wave(b"RIFF", sound), _read_wave, False, may_shrink=True),
        Format("long.wav", _wave(b"RF64", sound), _read_wave, False, may_shrink=True),
        _picture("picture.png", folder),
        _picture("picture.jpg", folder),
        Format("a.zip", zipped(("x/a.txt", sound.tobytes())), _extract, True, share=5),
        Format("a.tar", tarred(("x/a.txt", sound.tobytes())), _extract, False, share=5),
    ]


def _written(save: Callable[..., None], arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def _read_npz(path: Path) -> Arrays:
    with open_arrays(path, f"file {str(path)!r}") as found:
        return dict(found)


def _reader(model: Mapping[str, Any]) -> Callable[[Path], Arrays]:
    def read(path: Path) -> Arrays:
        return {name: np.asarray(array) for name, array in flat_state(load_checkpoint(str(path), model).model).items()}

    return read


def _wavenet() -> Arrays:
    random = np.random.default_rng(1)
    shapes = {"b0-l0__w": (2, 1, 3), "b0-l1__w": (2, 3, 3), "w": (1, 3, 4), "b": (4,)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _made_pth(zipped: bool) -> bytes:
    import torch

    degrees, state = [np.arange(4), np.arange(5) % 3, np.tile(np.arange(4), 2) - 1], {}
    for i, (below, above) in enumerate(pairwise(degrees)):
        mask = above[:, None] >= below[None]
        kernel = np.random.default_rng(i).normal(size=mask.shape).astype(np.float32)
        entries = {"weight": kernel, "bias": kernel[:, 0].copy(), "mask": mask.astype(np.float32)}
        state |= {f"net.{2 * i}.{part}": torch.from_numpy(array) for part, array in entries.items()}
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _native(folder: Path) -> bytes:
    path = folder / "native.safetensors"
    model = build({"name": "made", "num_inputs": 4, "hidden_sizes": [5]}, seed=0)
    save_checkpoint(path, "made", model, {"epochs": 3})
    return path.read_bytes()


def _state(folder: Path) -> Format:
    path = folder / "state.safetensors"
    model = build({"name": "wavenet", "dilations": [1, 2], "num_hidden": 3, "num_classes": 4}, seed=0)
    like = jax.tree.map(lambda leaf: leaf, model.stream().init_state(1))
    save_state(path, like, model)

    def read(path: Path) -> Arrays:
        leaves, _ = jax.tree.flatten(load_state(path, like, model))
        return {str(i): np.asarray(leaf) for i, leaf in enumerate(leaves)}

    return Format(path.name, path.read_bytes(), read, False)


def _flax() -> bytes:
    tree: dict[str, Any] = {}
    for name, array in _linen().items():
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = array
    return msgpack_serialize(tree)


@cache
def _linen() -> Arrays:
    """The parameters of a tiny PixelCNN++ by their names in a file."""
    model = PixelCNNPP(PixelCNNPP.Config((4, 4, 1), 1, 2, 1), rngs=nnx.Rngs(0))
    arrays = {}
    for layer in pixelcnnpp._layers(model.network):
        name, weight = f"{layer.name}/{layer.layout.module}", layer.weight
        assert isinstance(weight, WeightNorm)
        kernel = np.transpose(np.asarray(weight.v[...]), np.argsort(layer.layout.axes))
        lengths = np.asarray(weight.scale[...]).reshape(-1, *[1] * (kernel.ndim - 1))
        parts = {"weight_v": kernel, "weight_g": lengths, "bias": np.asarray(weight.bias[...])}
        arrays |= {f"{name}/{part}": array for part, array in parts.items()}
    return arrays


def _parameters(path: Path) -> Arrays:
    """The file's arrays alone, as the importer takes them: to make a PixelCNN++ of them takes a while."""
    wanted, state, source = _linen(), pixelcnnpp._parameters(path), str(path)
    refuse_others(state, wanted, source)
    return {name: take_entry(state, name, array.shape, source) for name, array in wanted.items()}


def _wave(form: bytes, sound: np.ndarray) -> bytes:
    data = (sound * 20_000).astype("<i2").tobytes()
    plain = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16_000, 2, 16)
    size, long_size = len(data), b""
    if form == b"RF64":
        long_size = b"ds64" + struct.pack("<IQQQI", 28, 72 + size, size, size // 2, 0)
        size = 0xFFFFFFFF
    rest = b"WAVE" + long_size + plain + b"LIST" + struct.pack("<I", 4) + b"INFO"
    return form + struct.pack("<I", min(size, len(rest) + 8 + size)) + rest + b"data" + struct.pack("<I", size) + data


def _read_wave(path: Path) -> Arrays:
    return {"samples": read_wave(path).samples}


def _picture(name: str, folder: Path) -> Format:
    """A photograph of a package that is made here."""
    package = f"package_with_{name.replace('.', '_')}"
    pixels = np.random.default_rng(2).integers(0, 256, (9, 11, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"png": "PNG", "jpg": "JPEG"}[name[-3:]])

    def read(path: Path) -> Arrays:
        (path.parent / package).mkdir(exist_ok=True)
        (path.parent / package / "__init__.py").touch()
        path.rename(path.parent / package / name)
        with (
            mock.patch.object(sys, "path", [str(path.parent), *sys.path]),
            mock.patch.object(photographs, "PHOTOGRAPHS", ((package, package, name),)),
        ):
            return {"pixels": photographs.read_photograph(0, "photographs")}

    return Format(name, buffer.getvalue(), read, False, may_shrink=True)


def _extract(path: Path) -> Arrays:
    target = path.with_suffix(".txt")
    target.unlink(missing_ok=True)
    with open_archive(path) as archive:
        archive.extract(["a.txt"], target)
    return {"bytes": np.frombuffer(target.read_bytes(), np.uint8)}


def main() -> int:
    """Say what came of how many files, and what should not have."""
    count, seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        outcomes, faults = fuzz(count, seed, Path(folder))
    for name, counts in outcomes.items():
        print(f"{name:20}", ", ".join(f"{outcome} {times}" for outcome, times in sorted(counts.items())))
    for fault in faults:
        print(f"\n{fault}")
    print(f"{count} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
