"""A training and a held-out part of a user's images, by what is in each image."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int32, UInt8, UInt64

from data.images.dataset import Dataset, DatasetError

HELD_OUT = 0.1  # share of the images that are held out, where nothing else is asked for


def split_by_content(
    name: str,
    images: UInt8[np.ndarray, "N H W C"],
    labels: Int32[np.ndarray, " N"],
    held_out: float | None = None,
) -> Dataset:
    """A dataset of which about the share ``held_out`` is held out, chosen by a hash of each image's pixels.

    Neither the order of the images nor their names matter, equal images are in the same part, and an image that is
    added moves none of the others, as long as neither part would be empty. Each part is in the order of the hashes.

    Args:
        name: what the dataset is called in messages and results.
        images: values 0 to 255.
        labels: class of each image, from 0.
        held_out: share of the images, between 0 and 1; None is 0.1.

    Raises:
        DatasetError: the share is not between 0 and 1, or there are not two different images.
    """
    hashes = np.array([_hash(image) for image in images], np.uint64)
    kept = first_kept(name, hashes, held_out, ("image", "different ones"))
    order = np.argsort(hashes, kind="stable")
    apart = np.searchsorted(hashes[order], kept)
    parts: Mapping[str, np.ndarray] = {"held_out": order[:apart], "train": order[apart:]}
    pixels = {part: images[rows] for part, rows in parts.items()}
    return Dataset(name, train_labels=labels[parts["train"]], held_out_labels=labels[parts["held_out"]], **pixels)


def first_kept(
    name: str, hashes: UInt64[np.ndarray, " N"], held_out: float | None, words: tuple[str, str]
) -> np.uint64:
    """The least hash that is not held out, where about the share ``held_out`` (None: 0.1) of different ones is.

    ``words`` are what is hashed, and what there should be two of at least. Raises DatasetError where the share is not
    between 0 and 1, or there are not two different hashes.
    """
    share = HELD_OUT if held_out is None else held_out
    if not 0 < share < 1:
        raise DatasetError(f"dataset {name!r}: held_out should be a share between 0 and 1, not {held_out}")
    values = np.unique(hashes)
    if len(values) < 2:
        raise DatasetError(
            f"dataset {name!r} has {len(hashes)} {words[0]}{'s' * (len(hashes) != 1)}"
            f"{', all equal' * (len(hashes) > 1)}; at least two {words[1]} are needed, to train on and to hold out"
        )
    # Each part has at least one of the different ones.
    return values[int(np.clip(np.searchsorted(values, np.uint64(share * 2.0**64)), 1, len(values) - 1))]


def _hash(image: UInt8[np.ndarray, "H W C"]) -> int:
    """The first 64 bits of the SHA-256 of an image's pixels."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()[:8], "big")
