"""A user's own folder of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.names import unknown
from common.paths import user_path
from data.images.dataset import Dataset, DatasetError, size_of
from data.images.pixels import MODES, as_pixels, open_picture, picture_suffixes
from data.images.split import split_by_content


def load_folder(
    *,
    root: str | None = None,
    download: bool = False,
    size: Sequence[int] | None = None,
    mode: str | None = None,
    held_out: float | None = None,
) -> Dataset:
    """The pictures in a folder: right in it, or in subfolders, one a class, numbered in the order of their names.

    A file counts by its suffix, one of those that Pillow opens; other files and hidden ones are passed over. What lies
    deeper in a subfolder belongs to its class. Without subfolders all pictures are of class 0.

    Args:
        root: the folder.
        download: must be ``False``.
        size: (height, width) that pictures are scaled and cut to; ``None`` where all have one size.
        mode: "L", gray, or "RGB"; ``None`` is "L" where all pictures are gray, and else "RGB".
        held_out: share of the pictures that are held out, by a hash of their pixels; ``None`` is 0.1.

    Raises:
        DatasetError: one sentence: the folder is not there or has no pictures, a picture cannot be read, sizes differ
            and none is asked for, or an argument is refused.
    """
    folder = _checked(root, download, size, mode)
    classes = _files_by_class(folder)
    files = [path for members in classes.values() for path in members]
    wanted = None if size is None else (size[0], size[1])
    pictures = [open_picture(path, wanted) for path in files]
    if size is None:
        _check_sizes(files, pictures)
    colours = mode or ("L" if all(picture.mode == "L" for picture in pictures) else "RGB")
    images = np.stack([as_pixels(picture, colours) for picture in pictures])
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(members) for members in classes.values()])
    return split_by_content(folder.name or str(folder), images, labels, held_out)


def _checked(root: str | None, download: bool, size: Sequence[int] | None, mode: str | None) -> Path:
    """The folder. Raises DatasetError."""
    if download:
        raise DatasetError("dataset 'folder' is your own and cannot be downloaded; leave out 'download'")
    if root is None:
        raise DatasetError("dataset 'folder' needs root, the folder with the pictures")
    if mode is not None and mode not in MODES:
        raise DatasetError(f"dataset 'folder': {unknown('mode', mode, MODES)}")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise DatasetError(f"dataset 'folder': size should be [height, width] in pixels, not {list(size)}")
    folder = user_path(root).absolute()
    if not folder.exists():
        raise DatasetError(f"dataset 'folder': {folder} does not exist")
    if not folder.is_dir():
        raise DatasetError(f"dataset 'folder': {folder} is a file; expected a folder of pictures")
    return folder


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    """The picture files of each class, by its name. Raises DatasetError where there are none, or it is not clear."""
    loose = [path for path in _visible(folder) if _is_picture(path)]
    below = {
        each.name: [path for path in sorted(each.rglob("*")) if _is_picture(path)]
        for each in _visible(folder)
        if each.is_dir()
    }
    classes = {name: members for name, members in below.items() if members}
    if loose and classes:
        raise DatasetError(
            f"dataset 'folder': {folder} has pictures ({loose[0].name}) beside subfolders with pictures "
            f"({next(iter(classes))}); move them into subfolders, one a class, or take the subfolders away"
        )
    if not loose and not classes:
        found = ", ".join(path.name for path in _visible(folder)[:3]) or "nothing"
        raise DatasetError(
            f"dataset 'folder': {folder} has no pictures; expected files such as .png, .jpg or .tif, right in it or in "
            f"subfolders, and found {found}"
        )
    return {"": loose} if loose else classes


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"dataset 'folder': {folder} cannot be read: {error.strerror}") from None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in picture_suffixes() and not path.name.startswith(".") and path.is_file()


def _check_sizes(files: Sequence[Path], pictures: Sequence[Image.Image]) -> None:
    for path, picture in zip(files, pictures, strict=True):
        if picture.size != pictures[0].size:
            first, other = (size_of(each.size[::-1]) for each in (pictures[0], picture))
            raise DatasetError(
                f"dataset 'folder': the pictures differ in size, {files[0]} is {first} and {path} {other}, height and "
                f"width; set size, such as size: [{pictures[0].height}, {pictures[0].width}]"
            )
