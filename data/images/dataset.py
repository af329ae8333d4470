"""The values that loaders return, and the error that they raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Int32, UInt8

from common.errors import UserError


class DatasetError(UserError):
    """A dataset cannot be had; the message says in one sentence why and what to do."""


_CALIBRATION = 32  # training images of a dataset


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images, their classes if these are known, and where they are from."""

    images: UInt8[np.ndarray, "N H W C"]
    labels: Int32[np.ndarray, " N"] | None
    source: str

    def first(self, count: int) -> LabelledImages:
        """The first ``count`` images with their classes. Raises DatasetError where there are fewer."""
        if count > len(self.images):
            raise DatasetError(f"num_images {count} is more than the {len(self.images)} {self.source}")
        labels = None if self.labels is None else self.labels[:count]
        return LabelledImages(self.images[:count], labels, self.source)


class PictureSource(Protocol):
    """Where images of a classifier's ``shape``, (height, width, channels), come from."""

    def pictures(self, shape: tuple[int, int, int], count: int) -> LabelledImages:
        """``count`` images to be classified. Raises DatasetError: fewer, of another shape, missing or damaged."""

    def calibration(self, shape: tuple[int, int, int]) -> LabelledImages:
        """Other images, to take batch-norm statistics of. Raises DatasetError: of another shape, missing, damaged."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images in a training and a held-out part. Satisfies PictureSource.

    Attributes:
        name: the dataset's key in ``data.DATASETS``.
        train: training images, uint8 (N, H, W, C), values 0 to 255.
        train_labels: class of each training image, int32 (N,), from 0.
        held_out: images never trained on, uint8 (M, H, W, C), values 0 to 255.
        held_out_labels: class of each held-out image, int32 (M,), from 0.

    Raises:
        DatasetError: a part is empty, has another dtype or rank, or differs from its labels or the other part in size.
    """

    name: str
    train: UInt8[np.ndarray, "n h w c"]
    train_labels: Int32[np.ndarray, " n"]
    held_out: UInt8[np.ndarray, "m h w c"]
    held_out_labels: Int32[np.ndarray, " m"]

    def __post_init__(self) -> None:
        """Check dtypes, ranks and sizes."""
        self._check_part("train", self.train, self.train_labels)
        self._check_part("held_out", self.held_out, self.held_out_labels)
        if self.train.shape[1:] != self.held_out.shape[1:]:
            raise DatasetError(
                f"dataset {self.name!r}: train images have shape {self.train.shape[1:]} "
                f"but held_out images have shape {self.held_out.shape[1:]}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width (pixels) and number of channels of every image."""
        _, height, width, channels = self.train.shape
        return height, width, channels

    def pictures(self, shape: tuple[int, int, int], count: int) -> LabelledImages:
        """The first held-out images; see PictureSource."""
        self._check_shape(shape)
        return LabelledImages(self.held_out, self.held_out_labels, f"held-out images of {self.name}").first(count)

    def calibration(self, shape: tuple[int, int, int]) -> LabelledImages:
        """The first training images; see PictureSource."""
        self._check_shape(shape)
        images = self.train[:_CALIBRATION]
        return LabelledImages(images, None, f"{len(images)} training images of {self.name}")

    def _check_shape(self, shape: tuple[int, int, int]) -> None:
        if self.image_shape != shape:
            raise DatasetError(
                f"images of {self.name} are {size_of(self.image_shape)}, height, width and channels; the network reads "
                f"{size_of(shape)}"
            )

    def _check_part(self, part: str, images: UInt8[np.ndarray, "n h w c"], labels: Int32[np.ndarray, " n"]) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.size == 0:
            raise DatasetError(
                f"dataset {self.name!r}: {part} must be non-empty uint8 images of shape (N, H, W, C), "
                f"got {images.dtype} {images.shape}"
            )
        if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
            raise DatasetError(
                f"dataset {self.name!r}: {part}_labels must be int32 of shape {images.shape[:1]}, "
                f"got {labels.dtype} {labels.shape}"
            )
        if labels.min() < 0:
            raise DatasetError(f"dataset {self.name!r}: {part}_labels must not be negative, got {labels.min()}")


def size_of(shape: tuple[int, ...]) -> str:
    """The sizes of a shape as messages say them: 28 x 28 x 1."""
    return " x ".join(map(str, shape))
