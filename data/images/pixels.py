"""A picture file as pixels: any format that Pillow opens, upright, 8 bits a channel, in the wanted colours and size."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from common.reading import reading
from data.images.dataset import DatasetError

MODES = ("L", "RGB")  # gray and colour, as Pillow calls them
_GRAY = frozenset({"1", "L", "LA"})
_DEEP = ("PNG", "PPM")  # formats whose mode "I", of 32 bits, holds 16
_STEP = 257  # from one value of 8 bits to the next, in 16 bits
_NOT_READ = "EPS"  # Pillow hands these to another program, which runs what they say
_PAPER = "white"  # what shows through where a picture is transparent


@cache
def picture_suffixes() -> frozenset[str]:
    """The suffixes of the files that are read, in lower case, with their dots."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in Image.OPEN and kind != _NOT_READ)


def open_picture(path: Path, size: tuple[int, int] | None = None) -> Image.Image:
    """A file's picture, whole and upright; the first one of an animation or of several pages.

    Gray pictures have the mode "L", all others "RGB"; 16 bits a channel become 8, and white shows through where a
    picture is transparent.

    Args:
        path: the file.
        size: (height, width): the picture is scaled until it covers that, and cut to it in the middle; None: its own.

    Raises:
        DatasetError: one sentence, where the file is no picture, is cut off or damaged, or has 32 bits a channel.
    """
    Image.init()
    formats = [kind for kind in Image.OPEN if kind != _NOT_READ]
    complaint = "is damaged, or not a picture that Pillow opens"
    with reading(path, complaint, DatasetError, why=False), Image.open(path, formats=formats) as file:
        file.load()
        if file.mode == "F" or (file.mode == "I" and file.format not in _DEEP):
            raise DatasetError(f"{path} has 32 bits a channel, without a largest value; expected 8 or 16 bits")
        picture = _in_eight_bits(ImageOps.exif_transpose(file))
    return picture if size is None else ImageOps.fit(picture, size[::-1], Image.Resampling.BICUBIC)


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # Pillow's own conversion would cut it off at 255
        values = np.asarray(picture).astype(np.int64)
        return Image.fromarray(((values + _STEP // 2) // _STEP).astype(np.uint8))
    wanted = "L" if picture.mode in _GRAY else "RGB"
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", seen.size, _PAPER), seen)
    return picture.convert(wanted)


def as_pixels(picture: Image.Image, mode: str) -> UInt8[np.ndarray, "H W C"]:
    """A picture's pixels in a mode of ``MODES``."""
    pixels = np.asarray(picture.convert(mode))
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
