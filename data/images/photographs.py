"""Photographs that come with the installed scikit-image and scikit-learn, whole or cropped."""

import importlib.resources
import importlib.util
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data.images.crops import resized_crop
from data.images.dataset import DatasetError, LabelledImages, size_of

# (package, as pip calls it, file).
PHOTOGRAPHS = (
    ("skimage", "scikit-image", "data/astronaut.png"),
    ("skimage", "scikit-image", "data/coffee.png"),
    ("skimage", "scikit-image", "data/motorcycle_left.png"),
    ("skimage", "scikit-image", "data/rocket.jpg"),
    ("sklearn", "scikit-learn", "datasets/images/flower.jpg"),
    ("skimage", "scikit-image", "data/chelsea.png"),
    ("sklearn", "scikit-learn", "datasets/images/china.jpg"),
)
_SOURCE = "photographs of scikit-image and scikit-learn"
CENTRE, SIDES = (0.5,), (0.0, 1.0)  # places of crops: see ``crop_photographs``


@dataclass(frozen=True)
class Photographs:
    """Crops of all photographs in any size. Satisfies PictureSource."""

    name: str = "photographs"  # what they are called in messages

    def pictures(self, shape: tuple[int, int, int], count: int) -> LabelledImages:
        """Crops in the middle, and then those beside it; their classes are not known. See PictureSource."""
        self.check_channels(shape)
        return LabelledImages(crop_photographs(*shape[:2], (*CENTRE, *SIDES)), None, _SOURCE).first(count)

    def calibration(self, shape: tuple[int, int, int]) -> LabelledImages:
        """Crops beside the middle; see PictureSource."""
        self.check_channels(shape)
        images = crop_photographs(*shape[:2], SIDES)
        return LabelledImages(images, None, f"{len(images)} crops of {_SOURCE}")

    def check_channels(self, shape: tuple[int, int, int]) -> None:
        """Raise DatasetError where a network does not read three colours."""
        if shape[2] != 3:
            raise DatasetError(f"images of {self.name} have 3 channels; the network reads {size_of(shape)}")


def load_photographs(*, root: str | None = None, download: bool = False) -> Photographs:
    """The photographs, whole until they are asked for in a size. Raises DatasetError where an argument is given."""
    if root is not None:
        raise DatasetError("dataset 'photographs' is embedded and takes no 'root'")
    if download:
        raise DatasetError("dataset 'photographs' cannot be downloaded; leave out 'download'")
    return Photographs()


def crop_photographs(height: int, width: int, places: tuple[float, ...] = CENTRE) -> UInt8[np.ndarray, "N h w 3"]:
    """All photographs, scaled down and cropped as classifiers of ImageNet read them; see ``resized_crop``.

    Args:
        height: of a crop.
        width: of a crop.
        places: where crops are cut: 0 at the upper left, 0.5 in the middle, 1 at the lower right. All photographs at
            the first place come first.

    Raises:
        DatasetError: a package or one of its photographs is missing or damaged.
    """
    pictures = [Image.fromarray(read_photograph(number, "photographs")) for number in range(len(PHOTOGRAPHS))]
    return np.stack([resized_crop(picture, height, width, place) for place in places for picture in pictures])


def read_photograph(number: int, dataset: str) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a row of PHOTOGRAPHS. Its package is not imported: scikit-learn would take a second.

    Raises:
        DatasetError: the package or the photograph is missing or damaged; ``dataset`` is what it was wanted for.
    """
    package, distribution, file = PHOTOGRAPHS[number]
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise DatasetError(
            f"dataset {dataset!r} is made of photographs that come with {distribution}, which is not installed: "
            "run `pip install -r requirements.txt`, or use the embedded 'mnist5k'"
        )
    resource = importlib.resources.files(importlib.util.module_from_spec(spec)) / file
    try:
        with Image.open(io.BytesIO(resource.read_bytes())) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # what Pillow raises on damaged bytes depends on where the damage is
        raise DatasetError(
            f"dataset {dataset!r} cannot read {file} of {distribution} ({type(error).__name__}): reinstall "
            f"{distribution} in the version of requirements.txt, or use the embedded 'mnist5k'"
        ) from error
