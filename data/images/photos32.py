"""Embedded colour pictures: 32 x 32 crops of photographs that come with the installed scikit-image and scikit-learn."""

import numpy as np
from jaxtyping import UInt8

from data.images.dataset import Dataset, DatasetError
from data.images.photographs import PHOTOGRAPHS, read_photograph

# A label is a row of PHOTOGRAPHS: the first of them are trained on.
_TRAIN_PICTURES = 5
_TRAIN_CROPS = 1600  # of each picture
_HELD_OUT_CROPS = 400
_SIDE = 32
# How many pixels of the photograph, down and across, make one of a crop: from texture to most of what is to be seen.
_SCALES = (1, 2, 4, 8)
_SEED = 0


def load_photos32(*, root: str | None = None, download: bool = False) -> Dataset:
    """Load 8,000 training crops of five photographs and 800 held-out crops of two others, both shuffled.

    A crop is a square of 32, 64, 128 or 256 pixels a side at a random place of a photograph, averaged down to 32 x 32.
    Half of the training crops, by chance, are mirrored left to right; held-out crops never are.

    Args:
        root: must be ``None``, the photographs need no folder.
        download: must be ``False``, the photographs need no network.

    Returns:
        8,000 training and 800 held-out images, uint8 (N, 32, 32, 3), red, green and blue. The label is the number of
        the photograph: 0 astronaut, 1 coffee, 2 motorcycle, 3 rocket, 4 flower; held out 5 chelsea (a cat), 6 china.

    Raises:
        DatasetError: ``root`` or ``download`` was given, or a package or one of its photographs is missing or damaged.
    """
    if root is not None or download:
        given = "root" if root is not None else "download"
        raise DatasetError(f"dataset 'photos32' is embedded and takes no {given!r}: leave out 'root' and 'download'")
    # RandomState's stream is frozen by numpy (a Generator's is not), so the crops are the same with every version.
    random = np.random.RandomState(_SEED)
    crops, labels = [], []
    for label in range(len(PHOTOGRAPHS)):
        training = label < _TRAIN_PICTURES
        count = _TRAIN_CROPS if training else _HELD_OUT_CROPS
        crops.append(_crops(read_photograph(label, "photos32"), count, random, mirror=training))
        labels.append(np.full(count, label, np.int32))
    train, train_labels = np.concatenate(crops[:_TRAIN_PICTURES]), np.concatenate(labels[:_TRAIN_PICTURES])
    held_out, held_out_labels = np.concatenate(crops[_TRAIN_PICTURES:]), np.concatenate(labels[_TRAIN_PICTURES:])
    order, held_out_order = random.permutation(len(train)), random.permutation(len(held_out))
    return Dataset(
        "photos32", train[order], train_labels[order], held_out[held_out_order], held_out_labels[held_out_order]
    )


def _crops(
    picture: UInt8[np.ndarray, "h w 3"], count: int, random: np.random.RandomState, *, mirror: bool
) -> UInt8[np.ndarray, "count 32 32 3"]:
    """Random squares of a picture, averaged down; with ``mirror`` half of them, by chance, are mirrored."""
    height, width, _ = picture.shape
    # sums[y, x] is the sum of all pixels above and left of (y, x): a block's sum is then four of them, for any block.
    sums = np.zeros((height + 1, width + 1, 3), np.int64)
    sums[1:, 1:] = picture.astype(np.int64).cumsum(0).cumsum(1)
    crops = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    for crop in crops:
        scale = _SCALES[_below(random, len(_SCALES))]
        y, x = _below(random, height - _SIDE * scale + 1), _below(random, width - _SIDE * scale + 1)
        corners = sums[y : y + _SIDE * scale + 1 : scale, x : x + _SIDE * scale + 1 : scale]
        blocks = np.diff(np.diff(corners, axis=0), axis=1)
        # The mean, rounded in whole numbers, which no machine does otherwise.
        averaged = (blocks + scale * scale // 2) // (scale * scale)
        crop[...] = averaged[:, ::-1] if mirror and _below(random, 2) else averaged
    return crops


def _below(random: np.random.RandomState, bound: int) -> int:
    """A random integer in [0, bound)."""
    return int(random.randint(0, bound, dtype=np.int64))
