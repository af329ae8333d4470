"""Datasets by name, as uint8 arrays with a fixed training and held-out part: images, and text as bytes."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from common.table import Table
from data.images.dataset import Dataset, DatasetError, PictureSource

__all__ = ["DATASETS", "Dataset", "DatasetError", "load_dataset"]

S = TypeVar("S", bound=PictureSource)

# Loaders are imported on use, so that importing this package pulls in no dataset library.
DATASETS: Table[Callable[..., Any]] = Table(
    "dataset",
    {
        "mnist5k": "data.images.mnist5k:load_mnist5k",
        "mnist": "data.images.torchvision_sets:load_mnist",
        "fashion_mnist": "data.images.torchvision_sets:load_fashion_mnist",
        "cifar10": "data.images.torchvision_sets:load_cifar10",
        "photos32": "data.images.photos32:load_photos32",
        "folder": "data.images.folder:load_folder",
        "arrays": "data.images.arrays:load_arrays",
        "text": "data.text.passages:load_text",  # no images: models of sequences read it
    },
)


def load_dataset(name: str, *, root: str | None = None, download: bool = False, **options: Any) -> Dataset:
    """Load one dataset of images in ``DATASETS``; ``data.text.passages.load_text`` loads a text.

    Args:
        name: a key of ``DATASETS``.
        root: folder that holds the dataset's files; ``None`` means ``datasets`` in the current working directory.
            The embedded ``mnist5k`` and ``photos32`` take no folder, ``arrays`` takes ``file`` in its place.
        download: whether files that are not under ``root`` may be fetched from the network.
        options: what ``load_folder`` and ``load_arrays`` take besides, for ``folder`` and ``arrays``.

    Returns:
        The dataset: uint8 images (N, H, W, C) with values 0 to 255 and int32 labels (N,).

    Raises:
        UnknownNameError: there is no such dataset.
        DatasetError: missing or damaged files, failed download, an argument the dataset refuses, or it has no images.
    """
    found = call_loader(DATASETS[name], name, root=root, download=download, **options)
    if not isinstance(found, Dataset):
        raise DatasetError(
            f"dataset {name!r} is a sequence of bytes and has no images; TrainWaveNetRunner trains on it"
        )
    return found


def call_loader(loader: Callable[..., S], name: str, **options: Any) -> S:
    """Call the loader called ``name``. Raises DatasetError where it does not take an option by that name."""
    taken = inspect.signature(loader).parameters
    for option in options:
        if option not in taken:
            raise DatasetError(f"dataset {name!r} takes no {option!r}; it takes: {', '.join(taken)}")
    return loader(**options)
