"""Images as sequences of pixels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image


def pixel_sequences(images: UInt8[np.ndarray, "N H W C"], size: int) -> Float32[np.ndarray, "T N C"]:
    """Images resized to ``size`` by ``size`` (bilinear), as T = size ** 2 pixels in raster order, from 0 to 1."""
    small = np.stack([_resized(image, size) for image in images])
    return np.moveaxis(small.reshape(len(small), size * size, -1), 1, 0).astype(np.float32) / 255


def _resized(image: UInt8[np.ndarray, "H W C"], size: int) -> UInt8[np.ndarray, "size size C"]:
    gray = image.shape[-1] == 1
    picture = Image.fromarray(image[..., 0] if gray else image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(size, size, image.shape[-1])
