"""The images that a classifier answers for, and those that batch-norm statistics of random weights are taken of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8

from common.names import unknown
from data import DATASETS, Dataset, load_dataset
from data.images.imagenet import has_imagenet, load_imagenet
from data.images.photographs import CENTRE, SIDES, crop_photographs
from runners.config.schema import DataConfig, UsageError

_IMAGENET_ROOT = "datasets"  # where no root is given
_CALIBRATION = 32  # training images of a dataset
_PHOTOGRAPHS = "photographs of scikit-image and scikit-learn"


@dataclass(frozen=True)
class LabelledImages:
    """Images, their classes if these are known, and what they are."""

    images: UInt8[np.ndarray, "N H W C"]
    labels: Int32[np.ndarray, " N"] | None
    source: str


def load_pictures(data: DataConfig, shape: tuple[int, int, int], count: int) -> LabelledImages:
    """``count`` images of (height, width, channels) ``shape``.

    Raises:
        UsageError: there are fewer, or they are of another shape.
        DatasetError: they cannot be had.
    """
    source = _source(data)
    if source == "imagenet":
        _check_colours(source, shape)
        images, labels = load_imagenet(data.root or _IMAGENET_ROOT, count, *shape[:2])
        return LabelledImages(images, labels, "ImageNet validation images")
    if source == "photographs":
        _check_colours(source, shape)
        return _first(LabelledImages(crop_photographs(*shape[:2], (*CENTRE, *SIDES)), None, _PHOTOGRAPHS), count)
    dataset = _dataset(source, data, shape)
    return _first(LabelledImages(dataset.held_out, dataset.held_out_labels, f"held-out images of {source}"), count)


def load_calibration(data: DataConfig, shape: tuple[int, int, int]) -> LabelledImages:
    """Images for batch-norm statistics: training images, or crops of photographs beside the middle.

    Raises:
        UsageError: they are of another shape.
        DatasetError: they cannot be had.
    """
    source = _source(data)
    if source in ("imagenet", "photographs"):
        _check_colours(source, shape)
        images = crop_photographs(*shape[:2], SIDES)
        return LabelledImages(images, None, f"{len(images)} crops of {_PHOTOGRAPHS}")
    images = _dataset(source, data, shape).train[:_CALIBRATION]
    return LabelledImages(images, None, f"{len(images)} training images of {source}")


def _source(data: DataConfig) -> str:
    """A name in DATASETS, imagenet or photographs. Raises UsageError."""
    names = [*DATASETS, "imagenet", "photographs"]
    if data.name not in names:
        raise UsageError(unknown("dataset", data.name, names))
    if data.name == "imagenet" and data.root is None and not has_imagenet(_IMAGENET_ROOT):
        return "photographs"
    if data.name == "photographs" and data.root is not None:
        raise UsageError("dataset 'photographs' is embedded and takes no 'root'")
    if data.name in ("imagenet", "photographs") and data.download:
        raise UsageError(f"dataset {data.name!r} cannot be downloaded; leave out 'download'")
    return data.name


def _dataset(source: str, data: DataConfig, shape: tuple[int, int, int]) -> Dataset:
    dataset = load_dataset(source, root=data.root, download=data.download)
    if dataset.image_shape != shape:
        raise UsageError(
            f"images of {source} are {_size(dataset.image_shape)}, height, width and channels; the network reads "
            f"{_size(shape)}"
        )
    return dataset


def _check_colours(source: str, shape: tuple[int, int, int]) -> None:
    if shape[2] != 3:
        raise UsageError(f"images of {source} have 3 channels; the network reads {_size(shape)}")


def _first(pictures: LabelledImages, count: int) -> LabelledImages:
    """The first ``count`` of them."""
    if count > len(pictures.images):
        raise UsageError(f"num_images {count} is more than the {len(pictures.images)} {pictures.source}")
    labels = None if pictures.labels is None else pictures.labels[:count]
    return LabelledImages(pictures.images[:count], labels, pictures.source)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
