"""Images for a classifier by name: a dataset's, or larger ones that are cut to the size that the network reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.table import Table
from data import DATASETS, call_loader
from data.images.dataset import LabelledImages, PictureSource

# A dataset is as large as it is; the others come in any size.
PICTURES: Table[Callable[..., PictureSource]] = DATASETS | Table(
    "dataset",
    {
        "imagenet": "data.images.imagenet:find_imagenet",
        "photographs": "data.images.photographs:load_photographs",
    },
)


def load_pictures(
    name: str,
    shape: tuple[int, int, int],
    count: int,
    *,
    root: str | None = None,
    download: bool = False,
    **options: Any,
) -> LabelledImages:
    """``count`` images to be classified.

    Args:
        name: a key of ``PICTURES``.
        shape: (height, width, channels) that the classifier reads.
        count: how many.
        root: folder that holds the files, for those that have any.
        download: whether files that are not there may be fetched from the network.
        options: what the loader takes besides.

    Raises:
        UnknownNameError: there is no such name.
        DatasetError: they cannot be had, there are fewer, or they are of another shape.
    """
    return call_loader(PICTURES[name], name, root=root, download=download, **options).pictures(shape, count)


def load_calibration(
    name: str, shape: tuple[int, int, int], *, root: str | None = None, download: bool = False, **options: Any
) -> LabelledImages:
    """Other images, to take batch-norm statistics of; arguments and errors are those of ``load_pictures``."""
    return call_loader(PICTURES[name], name, root=root, download=download, **options).calibration(shape)
