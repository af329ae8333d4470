"""Pictures of any size, cut to that of a network."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_MARGIN = 256 / 224  # of ImageNet's classifiers: the picture is scaled to 256 pixels and 224 of them are kept


def resized_crop(
    picture: Image.Image, height: int, width: int, place: float = 0.5
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Scale a picture until it is 8/7 as large as the crop, or larger in one direction, and crop it.

    ``place``: 0 crops at the upper left, 0.5 in the middle, 1 at the lower right.
    """
    scale = max(_MARGIN * height / picture.height, _MARGIN * width / picture.width)
    size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    scaled = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BILINEAR))
    top, left = round(place * (size[1] - height)), round(place * (size[0] - width))
    return scaled[top : top + height, left : left + width]
