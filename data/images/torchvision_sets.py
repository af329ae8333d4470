"""MNIST, Fashion-MNIST and CIFAR-10, read and downloaded by torchvision."""

import contextlib
import hashlib
import importlib
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from common.paths import user_path
from data.images.dataset import Dataset, DatasetError

_DEFAULT_ROOT = "datasets"
_NETWORK_TIMEOUT_S = 30.0
_EMBEDDED = {"cifar10": "photos32"}  # what stands in without any file: images of the same shape; else digits


@dataclass(frozen=True)
class _Source:
    """One dataset as torchvision lays it out; every path is relative to the root folder."""

    name: str
    reader: Any
    archives: dict[str, str]  # downloadable file -> its md5
    files: tuple[str, ...]  # what torchvision reads after unpacking the archives


def load_mnist(*, root: str | None = None, download: bool = False) -> Dataset:
    """Load MNIST: 60,000 training and 10,000 held-out digits, uint8 (N, 28, 28, 1).

    Args:
        root: folder that has or gets ``MNIST/raw``; ``None`` means ``datasets`` in the current working directory.
        download: whether missing files may be fetched from the network.

    Raises:
        DatasetError: missing or damaged files, failed download, or torchvision is not installed.
    """
    return _load(_idx_source("mnist", "MNIST"), root, download)


def load_fashion_mnist(*, root: str | None = None, download: bool = False) -> Dataset:
    """Load Fashion-MNIST: 60,000 training and 10,000 held-out garments, uint8 (N, 28, 28, 1).

    Args:
        root: folder that has or gets ``FashionMNIST/raw``; ``None`` means ``datasets`` in the current working
            directory.
        download: whether missing files may be fetched from the network.

    Raises:
        DatasetError: missing or damaged files, failed download, or torchvision is not installed.
    """
    return _load(_idx_source("fashion_mnist", "FashionMNIST"), root, download)


def load_cifar10(*, root: str | None = None, download: bool = False) -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 held-out RGB images, uint8 (N, 32, 32, 3).

    Args:
        root: folder that has or gets ``cifar-10-batches-py``; ``None`` means ``datasets`` in the current working
            directory.
        download: whether missing files may be fetched from the network.

    Raises:
        DatasetError: missing or damaged files, failed download, or torchvision is not installed.
    """
    reader = _torchvision_reader("cifar10", "CIFAR10")
    members = [name for name, _ in reader.train_list + reader.test_list] + [reader.meta["filename"]]
    source = _Source(
        name="cifar10",
        reader=reader,
        archives={reader.filename: reader.tgz_md5},
        files=tuple(f"{reader.base_folder}/{member}" for member in members),
    )
    return _load(source, root, download)


def _idx_source(name: str, class_name: str) -> _Source:
    reader = _torchvision_reader(name, class_name)
    archives = {f"{class_name}/raw/{archive}": md5 for archive, md5 in reader.resources}
    return _Source(name, reader, archives, files=tuple(archive.removesuffix(".gz") for archive in archives))


def _torchvision_reader(name: str, class_name: str) -> Any:
    try:
        datasets = importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise DatasetError(
            f"dataset {name!r} needs torch and torchvision ({error}): install both, or {_instead(name)}"
        ) from error
    return getattr(datasets, class_name)


def _load(source: _Source, root: str | None, download: bool) -> Dataset:
    folder = user_path(_DEFAULT_ROOT if root is None else root).absolute()
    if not all((folder / file).is_file() for file in source.files):
        return _install(source, folder, download)
    try:
        return _read(source, folder)
    except Exception as error:  # torchvision raises nearly any type on damaged bytes
        raise DatasetError(
            f"dataset {source.name!r} is damaged ({_cause(error)}): delete {_listing(source.files)} "
            f"in {_parent(folder, source.files)}, then {_remedy(source, folder)}"
        ) from error


def _install(source: _Source, folder: Path, download: bool) -> Dataset:
    """Unpack the archives found in ``folder``, fetching the others if ``download``, and read the result.

    torchvision writes in place and later takes any file of the right name for a whole one. So it works in a staging
    folder here, and its files move to ``folder`` only after all of them have been read.
    """
    if not download:
        _require_archives(source, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=folder) as name, _network_timeout():
            staging = Path(name)
            for archive in source.archives:
                if (folder / archive).is_file():
                    (staging / archive).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(folder / archive, staging / archive)
            dataset = _read(source, staging, download=True)
            for file in source.files:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (staging / file).replace(folder / file)
    except Exception as error:  # network, disk and unpacking fail with nearly any type
        action = "downloaded" if download else "unpacked"
        raise DatasetError(
            f"dataset {source.name!r} cannot be {action} ({_cause(error)}): "
            f"{_remedy(source, folder, failed_download=download)}"
        ) from error
    return dataset


def _require_archives(source: _Source, folder: Path) -> None:
    """Refuse archives that are not there or are damaged: torchvision would go to the network for them."""
    if not all((folder / archive).is_file() for archive in source.archives):
        raise DatasetError(f"dataset {source.name!r} is not in {folder}: {_remedy(source, folder)}")
    damaged = [archive for archive, md5 in source.archives.items() if _md5(folder / archive) != md5]
    if damaged:
        raise DatasetError(
            f"dataset {source.name!r} is damaged (wrong MD5 sum of {_listing(damaged)}): {_remedy(source, folder)}"
        )


def _read(source: _Source, folder: Path, download: bool = False) -> Dataset:
    train = source.reader(folder, train=True, download=download)
    held_out = source.reader(folder, train=False)
    return Dataset(source.name, _images(train), _labels(train), _images(held_out), _labels(held_out))


def _images(part: Any) -> UInt8[np.ndarray, "n h w c"]:
    images = np.ascontiguousarray(np.asarray(part.data))
    return images[..., np.newaxis] if images.ndim == 3 else images


def _labels(part: Any) -> Int32[np.ndarray, " n"]:
    return np.asarray(part.targets).astype(np.int32)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@contextlib.contextmanager
def _network_timeout() -> Iterator[None]:
    """Bound each network wait: torchvision sets no limit, and a silent firewall would hold it for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _remedy(source: _Source, folder: Path, failed_download: bool = False) -> str:
    download = "" if failed_download else "or set `download: true`, "
    place = f"put {_listing(source.archives)} into {_parent(folder, source.archives)}"
    return f"{place}, {download}or {_instead(source.name)}"


def _instead(name: str) -> str:
    return f"use the embedded {_EMBEDDED.get(name, 'mnist5k')!r}"


def _listing(paths: Iterable[str]) -> str:
    return ", ".join(Path(path).name for path in paths)


def _parent(folder: Path, paths: Iterable[str]) -> Path:
    """Return the one folder that all of a source's archives, or all of its files, lie in."""
    return (folder / next(iter(paths))).parent


def _cause(error: Exception) -> str:
    """Return the error's text on one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
