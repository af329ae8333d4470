"""Pictures as something that a run leaves behind, and grids of images to make them of."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from common.files import write_atomically
from runners.plotting.style import png

_GRID = 480  # pixels: how wide a grid of samples is, about


@dataclass(frozen=True)
class Picture:
    """A file that is drawn when the results are written. Satisfies Artifact."""

    name: str  # of the file, with its suffix
    draw: Callable[[], Figure | bytes]  # gives a matplotlib figure, which is saved as a PNG, or the file's bytes

    essential: ClassVar[bool] = False

    def write(self, folder: Path) -> None:
        """Draw the picture and write it, whole or not at all."""
        drawn = self.draw()
        write_atomically(folder / self.name, png(drawn) if isinstance(drawn, Figure) else drawn)


def sample_grid(images: UInt8[np.ndarray, "N H W C"], scale: int | None = None) -> bytes:
    """A PNG file of images on a grid, each pixel ``scale`` by ``scale`` large.

    By default a few small images are enlarged more than many. Raises ValueError as ``grid_image`` does.
    """
    if scale is None:
        scale = max(2, _GRID // grid_image(images).shape[1])
    buffer = io.BytesIO()
    Image.fromarray(grid_image(images, scale)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def grid_image(
    images: UInt8[np.ndarray, "N H W C"], scale: int = 1, gap: int = 2, background: int = 255
) -> UInt8[np.ndarray, "height width 3"]:
    """Images in reading order on a grid about as wide as high, ``gap`` pixels around each.

    Raises ValueError where the images are not uint8 of shape (N, H, W, 1 or 3) with at least one pixel.
    """
    check_images(images)
    count, height, width, _ = images.shape
    columns = min(count, max(1, math.ceil(math.sqrt(count * height / width))))
    pixels = np.repeat(np.repeat(np.broadcast_to(images, (*images.shape[:3], 3)), scale, 1), scale, 2)
    step_y, step_x = height * scale + gap, width * scale + gap
    grid = np.full((-(-count // columns) * step_y + gap, columns * step_x + gap, 3), background, np.uint8)
    for i, image in enumerate(pixels):
        top, left = gap + (i // columns) * step_y, gap + (i % columns) * step_x
        grid[top : top + height * scale, left : left + width * scale] = image
    return grid


def check_images(images: UInt8[np.ndarray, "..."], dimensions: int = 4) -> None:
    """Raise ValueError unless ``images`` is a non-empty uint8 array (..., H, W, 1 or 3) of that many dimensions."""
    if images.dtype != np.uint8 or images.ndim != dimensions or images.size == 0 or images.shape[-1] not in (1, 3):
        axes = "(F, N, H, W, 1 or 3)" if dimensions == 5 else "(N, H, W, 1 or 3)"
        raise ValueError(f"images must be non-empty uint8 of shape {axes}, not {images.dtype} {images.shape}")
