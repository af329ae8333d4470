"""ImageNet's validation images, read by torchvision where a folder has them."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from common.paths import user_path
from data.images.crops import resized_crop
from data.images.dataset import DatasetError, LabelledImages, PictureSource
from data.images.photographs import Photographs

_ROOT = "datasets"  # where no root is given
_META = ("meta.bin", "ILSVRC2012_devkit_t12.tar.gz")  # of either the first is what torchvision makes of the second
_IMAGES = ("val", "ILSVRC2012_img_val.tar")


class LabelledFiles(NamedTuple):
    """Images of ImageNet and their classes."""

    images: UInt8[np.ndarray, "N h w 3"]
    labels: Int32[np.ndarray, " N"]


@dataclass(frozen=True)
class ImageNet:
    """ImageNet's validation images in any size. Satisfies PictureSource."""

    root: str  # the folder, as ``load_imagenet`` takes it

    def pictures(self, shape: tuple[int, int, int], count: int) -> LabelledImages:
        """Images evenly spaced over all classes; see PictureSource."""
        Photographs("imagenet").check_channels(shape)
        return LabelledImages(*load_imagenet(self.root, count, *shape[:2]), "ImageNet validation images")

    def calibration(self, shape: tuple[int, int, int]) -> LabelledImages:
        """Crops of photographs: ImageNet's training images are too many to have at hand. See PictureSource."""
        return Photographs("imagenet").calibration(shape)


def find_imagenet(*, root: str | None = None, download: bool = False) -> PictureSource:
    """ImageNet in ``root``, or in the folder ``datasets``; where no root is given and it is not there, photographs.

    Raises:
        DatasetError: ``download`` is set; whoever wants ImageNet has to ask its makers for it.
    """
    if download:
        raise DatasetError("dataset 'imagenet' cannot be downloaded; leave out 'download'")
    return Photographs() if root is None and not has_imagenet(_ROOT) else ImageNet(root or _ROOT)


def has_imagenet(root: str | Path) -> bool:
    """Whether a folder has what ``load_imagenet`` reads, unpacked or not."""
    folder = user_path(root)
    return all(any((folder / name).exists() for name in names) for names in (_META, _IMAGES))


def load_imagenet(root: str | Path, count: int, height: int, width: int) -> LabelledFiles:
    """``count`` validation images, evenly spaced over all classes, scaled and cropped in the middle.

    Args:
        root: the folder that torchvision.datasets.ImageNet is given: it has ``val`` and ``meta.bin``, or the published
            archives ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, which are unpacked there.
        count: how many images.
        height: of an image.
        width: of an image.

    Raises:
        DatasetError: missing or damaged files, fewer images, or torchvision is not installed.
    """
    folder = user_path(root)
    if not has_imagenet(folder):
        raise DatasetError(
            f"dataset 'imagenet' is not in {folder.absolute()}: put {_IMAGES[1]} and {_META[1]} there, or use the "
            "embedded 'photographs'"
        )
    try:
        kind = importlib.import_module("torchvision.datasets").ImageNet
    except ImportError as error:
        raise DatasetError(f"dataset 'imagenet' needs torch and torchvision ({error}): install both") from error
    try:
        validation = kind(folder, split="val")
        if count <= len(validation):
            rows = np.linspace(0, len(validation) - 1, count).round().astype(int)
            pairs = [validation[row] for row in rows]
            images = np.stack([resized_crop(picture, height, width) for picture, _ in pairs])
            return LabelledFiles(images, np.array([label for _, label in pairs], np.int32))
    except Exception as error:  # torchvision raises nearly any type on damaged bytes
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"dataset 'imagenet' in {folder.absolute()} cannot be read: {cause}") from error
    raise DatasetError(f"dataset 'imagenet' in {folder.absolute()} has {len(validation)} images, fewer than {count}")
