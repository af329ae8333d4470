"""Images that a sampler completes: where they come from, and how much of them is given."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from pydantic import model_validator

from data import load_dataset
from models.autoregressive import Known
from models.capabilities import ImageModel
from runners.config.arrays import open_arrays
from runners.config.schema import Count, DataConfig, Keys, UsageError

_NAMES = ("images", "samples")  # of the array in a file


class KnownPixels(Keys):
    """Which images, and how many of their first pixels, in raster order, every sample begins with."""

    images: str | None = None  # an .npz with "images" or "samples", uint8 (batch, H, W, C); the first batch_size count
    data: DataConfig | None = None  # or the first held-out images of a dataset
    rows: Count | None = None  # whole rows, from the top
    pixels: Count | None = None  # or single pixels

    @model_validator(mode="after")
    def _one_of_each(self) -> KnownPixels:
        if (self.images is None) == (self.data is None):
            raise ValueError("one of images (a file) and data is needed, and not both")
        if (self.rows is None) == (self.pixels is None):
            raise ValueError("one of rows and pixels is needed, and not both")
        return self

    @property
    def amount(self) -> str:
        """How much is given, in words."""
        return f"{self.rows} rows" if self.rows is not None else f"{self.pixels} pixels"


def load_known(config: KnownPixels, model: ImageModel, batch_size: int) -> Known:
    """The values that a batch begins with, one image a sample.

    Raises UsageError where the images are not there, too few or of another shape, or more is known than there is, and
    DatasetError where the dataset cannot be had.
    """
    height, width, _ = model.image_shape
    if config.rows is not None and config.rows > height:
        raise UsageError(f"known_pixels: rows {config.rows} is more than the images' height, {height}")
    if config.pixels is not None and config.pixels > height * width:
        raise UsageError(f"known_pixels: pixels {config.pixels} is more than the images have, {height * width}")
    source, images = _images(config)
    if images.shape[1:] != model.image_shape:
        raise UsageError(
            f"known_pixels: the model draws images of shape {list(model.image_shape)}, {source} has "
            f"{list(images.shape[1:])}"
        )
    if len(images) < batch_size:
        raise UsageError(f"known_pixels: {source} has {len(images)} images, the config says batch_size: {batch_size}")
    values = jax.jit(model.from_images)(jnp.asarray(images[:batch_size]))
    pixels = (config.rows or 0) * width + (config.pixels or 0)  # one of them is given
    return Known(values, jnp.int32(pixels * (len(values) // (height * width))))


def _images(config: KnownPixels) -> tuple[str, UInt8[np.ndarray, "N H W C"]]:
    """What the images are called in messages, and the images."""
    if config.data is not None:
        dataset = load_dataset(config.data.name, root=config.data.root, download=config.data.download)
        return f"the dataset {dataset.name}", dataset.held_out
    source = f"the file {config.images!r}"
    with open_arrays(Path(str(config.images)).expanduser(), f"known_pixels: {source}") as file:
        name = next((name for name in _NAMES if name in file), None)
        if name is None:
            raise UsageError(f"known_pixels: {source} has no array 'images'; it has: {', '.join(file) or 'none'}")
        images = file[name]
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UsageError(
            f"known_pixels: {source}: {name} should be uint8 of shape (batch, height, width, channels), not "
            f"{images.dtype} of shape {images.shape}"
        )
    return source, images
