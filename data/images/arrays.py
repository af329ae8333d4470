"""A user's own images in an array file of numpy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Shaped, UInt8

from common.names import unknown
from common.npz import open_npz
from common.paths import user_path
from common.reading import reading
from data.images.dataset import Dataset, DatasetError
from data.images.split import split_by_content

_KEY = "images"  # of several arrays, if nothing else is asked for


def load_arrays(
    *,
    root: str | None = None,
    download: bool = False,
    file: str | None = None,
    key: str | None = None,
    labels: str | None = None,
    held_out: float | None = None,
) -> Dataset:
    """The images in an .npy or .npz file: whole numbers from 0 to 255, (N, H, W, C), or gray ones (N, H, W).

    Args:
        root: must be ``None``: ``file`` is the whole path.
        download: must be ``False``.
        file: the file.
        key: the name of the images' array in an .npz; ``None`` is the only array there, or "images".
        labels: the name of the array of classes (N,), whole numbers from 0; ``None``: all images are of class 0.
        held_out: share of the images that are held out, by a hash of their pixels; ``None`` is 0.1.

    Raises:
        DatasetError: one sentence: the file is not there, cannot be read, or does not hold such arrays, or an argument
            is refused.
    """
    if root is not None or download:
        raise DatasetError(f"dataset 'arrays' takes no {'root' if root is not None else 'download'!r}: file is a path")
    if file is None:
        raise DatasetError("dataset 'arrays' needs file, an .npy or .npz with the images")
    path = user_path(file)
    source = f"dataset 'arrays': {path}"
    if path.suffix.lower() == ".npy":
        for option, value in (("key", key), ("labels", labels)):
            if value is not None:
                raise DatasetError(f"{source} is a single array and takes no {option!r}; an .npz has several")
        images, classes = _read_npy(path, source), None
    else:
        with open_npz(path, source, DatasetError) as arrays:
            images = arrays[_known(arrays, key or _default(arrays), source)]
            classes = None if labels is None else arrays[_known(arrays, labels, source)]
    pixels = _as_images(images, source)
    return split_by_content(path.name, pixels, _as_labels(classes, len(pixels), source), held_out)


def _read_npy(path: Path, source: str) -> Shaped[np.ndarray, "..."]:
    if not path.is_file():
        raise DatasetError(
            f"{source} is a folder; expected an .npy file" if path.is_dir() else f"{source} does not exist"
        )
    complaint = "is damaged, or not an .npy file of numbers"
    with reading(path, complaint, DatasetError, source=source, why=False), path.open("rb") as content:
        array: np.ndarray = np.lib.format.read_array(content, allow_pickle=False)
    return array


def _default(arrays: Mapping[str, np.ndarray]) -> str:
    return next(iter(arrays)) if len(arrays) == 1 else _KEY


def _known(arrays: Mapping[str, np.ndarray], name: str, source: str) -> str:
    if name not in arrays:
        raise DatasetError(f"{source}: {unknown('array', name, list(arrays))}")
    return name


def _as_images(array: Shaped[np.ndarray, "..."], source: str) -> UInt8[np.ndarray, "N H W C"]:
    if not np.issubdtype(array.dtype, np.integer) or array.ndim not in (3, 4) or array.size == 0:
        raise DatasetError(
            f"{source}: images should be whole numbers from 0 to 255 of shape (N, height, width, channels) or (N, "
            f"height, width), not {array.dtype} {array.shape}"
        )
    if array.min() < 0 or array.max() > 255:
        raise DatasetError(
            f"{source}: images should be whole numbers from 0 to 255; these are from {array.min()} to {array.max()}"
        )
    images = array.astype(np.uint8)
    return images[..., np.newaxis] if images.ndim == 3 else images


def _as_labels(array: Shaped[np.ndarray, "..."] | None, count: int, source: str) -> Int32[np.ndarray, " N"]:
    if array is None:
        return np.zeros(count, np.int32)
    if not np.issubdtype(array.dtype, np.integer) or array.shape != (count,):
        raise DatasetError(
            f"{source}: labels should be whole numbers of shape {(count,)}, one an image; they are {array.dtype} "
            f"{array.shape}"
        )
    if array.min() < 0 or array.max() > np.iinfo(np.int32).max:
        raise DatasetError(f"{source}: labels should count from 0; these are from {array.min()} to {array.max()}")
    return array.astype(np.int32)
