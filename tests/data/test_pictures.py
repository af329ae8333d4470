"""Images for a classifier: a dataset's, ImageNet's where a folder has them, photographs where there is nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from data import load_dataset
from data.images.dataset import DatasetError
from data.images.imagenet import has_imagenet, load_imagenet
from data.images.photographs import PHOTOGRAPHS, SIDES, crop_photographs
from data.images.pictures import load_calibration, load_pictures

GRAY, COLOUR = (28, 28, 1), (24, 32, 3)


def test_photographs_are_cropped_where_asked() -> None:
    crops = crop_photographs(24, 32, SIDES)
    assert crops.shape == (2 * len(PHOTOGRAPHS), 24, 32, 3)
    assert crops.dtype == np.uint8
    assert (crops[: len(PHOTOGRAPHS)] != crops[len(PHOTOGRAPHS) :]).any(axis=(1, 2, 3)).all()


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A folder as torchvision leaves it: two classes of two pictures."""
    torch = pytest.importorskip("torch")
    classes = {"n01": ("a cat",), "n02": ("a dog",)}
    torch.save((classes, ["n01", "n01", "n02", "n02"]), tmp_path / "meta.bin")
    for shade, name in ((40, "n01"), (200, "n02")):
        (tmp_path / "val" / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (90, 60), (shade, 0, i)).save(tmp_path / "val" / name / f"{i}.JPEG")
    return tmp_path


def test_imagenet_is_read_where_its_folder_is(imagenet: Path) -> None:
    images, labels = load_imagenet(imagenet, 2, 32, 32)
    assert images.shape == (2, 32, 32, 3)
    assert labels.tolist() == [0, 1]
    assert images[0, ..., 0].mean() == pytest.approx(40, abs=3)
    pictures = load_pictures("imagenet", (32, 32, 3), 4, root=str(imagenet))
    assert pictures.source == "ImageNet validation images"
    with pytest.raises(DatasetError, match="has 4 images, fewer than 5"):
        load_imagenet(imagenet, 5, 32, 32)


def test_damaged_imagenet_is_a_dataset_error(imagenet: Path) -> None:
    (imagenet / "val" / "n01" / "0.JPEG").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_imagenet(imagenet, 4, 32, 32)


def test_without_imagenet_there_are_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not has_imagenet(tmp_path)
    pictures = load_pictures("imagenet", (32, 32, 3), 3)
    assert pictures.source == "photographs of scikit-image and scikit-learn"
    assert pictures.labels is None


def test_a_dataset_shows_held_out_images_and_calibrates_on_training_ones() -> None:
    digits = load_dataset("mnist5k")
    pictures, calibration = load_pictures("mnist5k", GRAY, 3), load_calibration("mnist5k", GRAY)
    np.testing.assert_array_equal(pictures.images, digits.held_out[:3])
    assert pictures.labels is not None
    assert pictures.labels.tolist() == digits.held_out_labels[:3].tolist()
    assert pictures.source == "held-out images of mnist5k"
    np.testing.assert_array_equal(calibration.images, digits.train[:32])
    assert (calibration.labels, calibration.source) == (None, "32 training images of mnist5k")


def test_photographs_calibrate_on_other_crops_than_they_show_first() -> None:
    pictures, calibration = load_pictures("photographs", COLOUR, 9), load_calibration("imagenet", COLOUR)
    assert len(pictures.images) == 9
    assert calibration.source == f"{2 * len(PHOTOGRAPHS)} crops of photographs of scikit-image and scikit-learn"
    np.testing.assert_array_equal(calibration.images, crop_photographs(*COLOUR[:2], SIDES))
    assert not any((pictures.images[0] == crop).all() for crop in calibration.images)


@pytest.mark.parametrize(
    ("name", "shape", "count", "given", "sentence"),
    [
        ("imagnet", COLOUR, 1, {}, "unknown dataset 'imagnet'; did you mean 'imagenet'? valid: imagenet, "),
        ("mnist5k", COLOUR, 1, {}, "images of mnist5k are 28 x 28 x 1, height, width and channels; the network reads "),
        ("mnist5k", GRAY, 501, {}, "num_images 501 is more than the 500 held-out images of mnist5k"),
        ("mnist5k", GRAY, 1, {"root": "x"}, "dataset 'mnist5k' is embedded and takes no 'root'"),
        ("photographs", GRAY, 1, {}, "images of photographs have 3 channels; the network reads 28 x 28 x 1"),
        ("photographs", COLOUR, 22, {}, "num_images 22 is more than the 21 photographs of scikit-image and"),
        ("photographs", COLOUR, 1, {"root": "x"}, "dataset 'photographs' is embedded and takes no 'root'"),
        ("photographs", COLOUR, 1, {"download": True}, "dataset 'photographs' cannot be downloaded; leave out"),
        ("imagenet", COLOUR, 1, {"download": True}, "dataset 'imagenet' cannot be downloaded; leave out 'download'"),
        ("imagenet", GRAY, 1, {"root": "x"}, "images of imagenet have 3 channels; the network reads 28 x 28 x 1"),
        ("imagenet", COLOUR, 1, {"root": "x"}, "dataset 'imagenet' is not in "),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    name: str, shape: tuple[int, int, int], count: int, given: dict[str, str | bool], sentence: str
) -> None:
    with pytest.raises(UserError, match="^" + re.escape(sentence)):
        load_pictures(name, shape, count, **given)
