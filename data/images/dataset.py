"""The value every loader returns, and the error every loader raises."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8

from common.errors import UserError


class DatasetError(UserError):
    """A dataset cannot be had; the message says in one sentence why and what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images in a training and a held-out part.

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
