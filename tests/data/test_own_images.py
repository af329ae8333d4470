"""A user's own images: every kind of picture and array is read as it should be, or refused in one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data import Dataset, DatasetError, load_dataset
from data.images.pictures import load_pictures

Write = Callable[[Path], Any]  # writes pictures into a folder
SIZE = (6, 4)  # height, width
COLOUR = (200, 100, 40)


def picture(value: Any = 100, mode: str = "L", size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.new(mode, size[::-1], value)


def saved(image: Image.Image, name: str = "b.png", **options: Any) -> Write:
    return lambda folder: image.save(folder / name, **options)


def deep(folder: Path) -> None:
    """16 bits: 100 of 255 is 25,700 of 65,535."""
    Image.fromarray(np.full(SIZE, 25700, np.uint16)).save(folder / "b.png")


def deep_pgm(folder: Path) -> None:
    (folder / "b.pgm").write_bytes(b"P5 4 6 65535\n" + np.full(SIZE, 25700, ">u2").tobytes())


def animated(folder: Path) -> None:
    frames = [picture(value) for value in (100, 0)]
    frames[0].save(folder / "b.gif", save_all=True, append_images=frames[1:])


def pages(folder: Path) -> None:
    picture().save(folder / "b.tif", save_all=True, append_images=[picture(0)])


def turned(folder: Path) -> None:
    """A picture that lies on its side, and says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(size=SIZE[::-1]).save(folder / "b.jpg", exif=exif)


def palette(folder: Path) -> None:
    image = picture(0, "P")
    image.putpalette(COLOUR)
    image.save(folder / "b.png")


def clear_palette(folder: Path) -> None:
    image = picture(0, "P")
    image.putpalette(COLOUR)
    image.save(folder / "b.png", transparency=0)


def noisy(folder: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(folder / "b.png")


def cut(name: str, write: Write, keep: float = 0.5) -> Write:
    def written(folder: Path) -> None:
        write(folder)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * keep)])

    return written


def holds(content: bytes, name: str = "b.png") -> Write:
    return lambda folder: (folder / name).write_bytes(content)


def folder_of(here: Path, *writes: Write) -> Path:
    """A folder with one gray picture, and what else is written."""
    here.mkdir(exist_ok=True)
    picture(7).save(here / "a.png")
    for write in writes:
        write(here)
    return here


def all_of(dataset: Dataset) -> np.ndarray:
    return np.concatenate([dataset.held_out, dataset.train])


# What is written beside a picture of gray 7, and the value that its pixels are then read as.
READ: dict[str, tuple[Write, Any]] = {
    "gray": (saved(picture()), 100),
    "jpeg": (saved(picture(), "b.JPG"), 100),
    "bmp": (saved(picture(), "b.bmp"), 100),
    "webp": (saved(picture(COLOUR, "RGB"), "b.webp", lossless=True), COLOUR),
    "ppm": (saved(picture(COLOUR, "RGB"), "b.ppm"), COLOUR),
    "black_and_white": (saved(picture(1, "1")), 255),
    "colour": (saved(picture(COLOUR, "RGB")), COLOUR),
    "cmyk": (saved(picture((55, 155, 215, 0), "CMYK"), "b.tif"), COLOUR),
    "palette": (palette, COLOUR),
    "transparent_palette": (clear_palette, (255, 255, 255)),
    "alpha": (saved(picture((0, 0, 0, 55), "RGBA")), (200, 200, 200)),
    "gray_alpha": (saved(picture((0, 55), "LA")), 200),
    "sixteen_bits": (deep, 100),
    "sixteen_bits_pgm": (deep_pgm, 100),
    "animated": (animated, (100, 100, 100)),
    "pages": (pages, 100),
    "exif_rotation": (turned, 100),
    "beside_other_files": (lambda folder: (saved(picture())(folder), holds(b"x", "notes.txt")(folder)), 100),
    "hidden": (lambda folder: (saved(picture())(folder), holds(b"x", "._b.png")(folder)), 100),
}


@pytest.mark.parametrize("kind", READ)
def test_pictures_are_read(tmp_path: Path, kind: str) -> None:
    write, value = READ[kind]
    dataset = load_dataset("folder", root=str(folder_of(tmp_path / "own", write)))
    images = all_of(dataset)
    assert images.shape == (2, *SIZE, 3 if isinstance(value, tuple) else 1)
    assert dataset.name == "own"
    (other,) = [image for image in images if image.flat[0] != 7]
    np.testing.assert_allclose(other, np.broadcast_to(value, other.shape), atol=3)  # JPEG's and CMYK's rounding


ARRAY = np.arange(4 * 6 * 4, dtype=np.uint8).reshape(4, 6, 4)

# What else lies in the folder, the options, and what the sentence says.
REFUSED: dict[str, tuple[Write, dict[str, Any], str]] = {
    "mixed_sizes": (
        saved(picture(size=(5, 4))),
        {},
        "the pictures differ in size, {here}/a.png is 6 x 4 and {here}/b.png 5 x 4, height and width; set size, such "
        "as size: [6, 4]",
    ),
    "truncated_png": (cut("b.png", noisy), {}, "b.png is damaged, or not a picture that Pillow opens"),
    "truncated_gif": (cut("b.gif", animated, 0.2), {}, "b.gif is damaged, or not a picture that Pillow opens"),
    "text_as_png": (holds(b"hello"), {}, "b.png is damaged, or not a picture that Pillow opens"),
    "web_page": (holds(b"<html>"), {}, "b.png is damaged, or not a picture that Pillow opens: it is a web page"),
    "empty_file": (holds(b""), {}, "b.png is damaged, or not a picture that Pillow opens: it is empty"),
    "float_tiff": (saved(picture(0.5, "F"), "b.tif"), {}, "b.tif has 32 bits a channel, without a largest value; "),
    "int_tiff": (saved(picture(5, "I"), "b.tif"), {}, "b.tif has 32 bits a channel, without a largest value; "),
    "one_picture": (lambda folder: None, {}, "dataset 'own' has 1 image; at least two different ones are needed"),
    "equal_pictures": (saved(picture(7)), {}, "dataset 'own' has 2 images, all equal; at least two different ones"),
    "beside_classes": (
        lambda folder: ((folder / "cats").mkdir(), saved(picture(), "cats/b.png")(folder)),
        {},
        "{here} has pictures (a.png) beside subfolders with pictures (cats); move them into subfolders",
    ),
    "mode": (saved(picture()), {"mode": "rgb"}, "unknown mode 'rgb'; did you mean 'RGB'?"),
    "size": (saved(picture()), {"size": (8,)}, "size should be [height, width] in pixels, not [8]"),
    "held_out": (saved(picture()), {"held_out": 1.0}, "held_out should be a share between 0 and 1, not 1.0"),
    "download": (saved(picture()), {"download": True}, "cannot be downloaded; leave out 'download'"),
    "file": (saved(picture()), {"file": "x.npy"}, "dataset 'folder' takes no 'file'; it takes: root, download, size"),
    "no_root": (saved(picture()), {"root": None}, "dataset 'folder' needs root, the folder with the pictures"),
    "absent": (saved(picture()), {"root": "{here}/none"}, "{here}/none does not exist"),
    "a_file": (saved(picture()), {"root": "{here}/a.png"}, "{here}/a.png is a file; expected a folder of pictures"),
}


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        load_dataset(name, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_set_of_pictures_is_one_sentence(tmp_path: Path, kind: str) -> None:
    write, options, words = REFUSED[kind]
    here = folder_of(tmp_path / "own", write)
    given = {"root": str(here), **options}
    given = {
        key: value.replace("{here}", str(here)) if isinstance(value, str) else value for key, value in given.items()
    }
    assert words.replace("{here}", str(here)) in refusal("folder", **given)


def test_folders_without_pictures_are_named(tmp_path: Path) -> None:
    assert refusal("folder", root=str(tmp_path)).endswith("in subfolders, and found nothing")
    (tmp_path / "cats").mkdir()
    assert refusal("folder", root=str(tmp_path)).endswith("in subfolders, and found cats")


def test_sizes_and_modes_are_made_equal_where_that_is_asked_for(tmp_path: Path) -> None:
    wide = Image.fromarray(np.repeat(np.array([[0, 0, 90, 90, 0, 0]], np.uint8), 2, axis=0))  # its middle is kept
    here = folder_of(tmp_path / "own", saved(wide))
    dataset = load_dataset("folder", root=str(here), size=(2, 2), mode="RGB")
    images = all_of(dataset)
    assert images.shape == (2, 2, 2, 3)
    assert sorted(set(images.flat)) == [7, 90]


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for label, name in enumerate(("cats", "dogs")):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for i in range(3):
            picture(100 * label + i).save(tmp_path / name / ("deeper" if i else "") / f"{i}.png")
    dataset = load_dataset("folder", root=str(tmp_path), held_out=0.4)
    labels = np.concatenate([dataset.held_out_labels, dataset.train_labels])
    np.testing.assert_array_equal(all_of(dataset)[:, 0, 0, 0] // 100, labels)
    assert labels.tolist().count(0) == 3


def values(dataset: Dataset) -> tuple[list[int], list[int]]:
    return dataset.train[:, 0, 0, 0].tolist(), dataset.held_out[:, 0, 0, 0].tolist()


def test_the_split_follows_content_and_not_names_or_order(tmp_path: Path) -> None:
    for i in range(40):
        folder_of(tmp_path / "one", saved(picture(i), f"{i:02}.png"))
        folder_of(tmp_path / "two", saved(picture(i), f"{99 - i}.png"))
    one, two = (load_dataset("folder", root=str(tmp_path / name), held_out=0.25) for name in ("one", "two"))
    assert values(one) == values(two)
    train, held_out = values(one)
    assert not set(train) & set(held_out)  # 7 is there twice
    assert 4 <= len(held_out) <= 16  # of 41; binomial, four deviations
    shutil.copytree(tmp_path / "one", tmp_path / "more")
    picture(200).save(tmp_path / "more" / "00a.png")
    more = values(load_dataset("folder", root=str(tmp_path / "more"), held_out=0.25))
    assert [[value for value in part if value != 200] for part in more] == [train, held_out]


def npy(array: Any, name: str = "x.npy") -> Write:
    return lambda folder: np.save(folder / name, array)


def npz(**arrays: Any) -> Write:
    return lambda folder: np.savez(folder / "x.npz", **arrays)


ARRAYS: dict[str, tuple[Write, dict[str, Any]]] = {
    "npy": (npy(ARRAY), {}),
    "channels": (npy(ARRAY[..., None]), {}),
    "int64": (npy(ARRAY.astype(np.int64)), {}),
    "big_endian": (npy(ARRAY.astype(">i4")), {}),
    "fortran": (npy(np.asfortranarray(ARRAY)), {}),
    "npz": (npz(anything=ARRAY), {}),
    "npz_of_several": (npz(images=ARRAY, more=np.zeros(3)), {}),
    "npz_by_key": (npz(a=ARRAY, b=np.zeros(3)), {"key": "a"}),
    "labels": (npz(images=ARRAY, y=np.zeros(4, np.int64)), {"labels": "y"}),
}


def array_file(here: Path, write: Write) -> str:
    write(here)
    return str(next(here.iterdir()))


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_read(tmp_path: Path, kind: str) -> None:
    write, options = ARRAYS[kind]
    dataset = load_dataset("arrays", file=array_file(tmp_path, write), **options)
    images = all_of(dataset)
    assert dataset.name in ("x.npy", "x.npz")
    np.testing.assert_array_equal(images[np.argsort(images[:, 0, 0, 0])], ARRAY[..., None])


REFUSED_ARRAYS: dict[str, tuple[Write, dict[str, Any], str]] = {
    "floats": (
        npy(ARRAY / 255),
        {},
        "images should be whole numbers from 0 to 255 of shape (N, height, width, channels)",
    ),
    "flat": (npy(ARRAY.reshape(4, -1)), {}, "or (N, height, width), not uint8 (4, 24)"),
    "none": (npy(ARRAY[:0]), {}, "not uint8 (0, 6, 4)"),
    "too_large": (npy(ARRAY.astype(np.int32) * 10), {}, "these are from 0 to 950"),
    "negative": (npy(ARRAY.astype(np.int32) - 1), {}, "these are from -1 to 94"),
    "objects": (npy(np.array([ARRAY, None], object)), {}, "x.npy is damaged, or not an .npy file of numbers"),
    "no_array": (holds(b"hello", "x.npy"), {}, "x.npy is damaged, or not an .npy file of numbers"),
    "truncated": (cut("x.npy", npy(ARRAY), 0.9), {}, "x.npy is damaged, or not an .npy file of numbers"),
    "key_of_npy": (npy(ARRAY), {"key": "a"}, "is a single array and takes no 'key'; an .npz has several"),
    "no_such_key": (
        npz(pictures=ARRAY, b=ARRAY),
        {"key": "picture"},
        "unknown array 'picture'; did you mean 'pictures'?",
    ),
    "no_images": (npz(a=ARRAY, b=ARRAY), {}, "unknown array 'images'; valid: a, b"),
    "damaged_npz": (holds(b"PK", "x.npz"), {}, "x.npz is damaged, or not an .npz file"),
    "labels_of_another_count": (
        npz(images=ARRAY, y=np.zeros(3, int)),
        {"labels": "y"},
        "labels should be whole numbers",
    ),
    "negative_labels": (npz(images=ARRAY, y=-np.ones(4, int)), {"labels": "y"}, "labels should count from 0"),
    "root": (npy(ARRAY), {"root": "x"}, "dataset 'arrays' takes no 'root': file is a path"),
    "no_file": (npy(ARRAY), {"file": None}, "dataset 'arrays' needs file, an .npy or .npz with the images"),
    "absent": (npy(ARRAY), {"file": "none.npy"}, "dataset 'arrays': none.npy does not exist"),
    "folder": (npy(ARRAY), {"file": "/"}, "dataset 'arrays': / is a folder; expected an .npz file"),
}


@pytest.mark.parametrize("kind", REFUSED_ARRAYS)
def test_what_is_no_array_of_images_is_one_sentence(tmp_path: Path, kind: str) -> None:
    write, options, words = REFUSED_ARRAYS[kind]
    assert words in refusal("arrays", **{"file": array_file(tmp_path, write), **options})


def test_datasets_take_only_options_of_theirs() -> None:
    assert refusal("mnist5k", size=(8, 8)) == "dataset 'mnist5k' takes no 'size'; it takes: root, download"


def test_a_classifier_is_shown_pictures_of_a_folder(tmp_path: Path) -> None:
    here = folder_of(tmp_path / "own", saved(picture(COLOUR, "RGB")))
    shown = load_pictures("folder", (*SIZE, 3), 1, root=str(here))
    assert shown.images.shape == (1, *SIZE, 3)
    assert shown.source == "held-out images of own"
