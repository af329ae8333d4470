"""Capabilities of models, as protocols: a runner requires one and never looks for single methods.

No model inherits from these. A model has a capability if it has all of its members, and so has the model's class, which
is how the valid models are named where one lacks what is required.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from common.code import file_of
from common.errors import UserError
from common.names import lacks
from models import MODELS
from models.wavenet.conditioning import Conditioning
from models.wavenet.network import WaveNetNetwork
from models.wavenet.quantization import Quantizer
from models.wavenet.streaming import StreamingNetwork
from solvers.heads.categorical import Argmax, Gumbel
from solvers.systems.autoregressive import CausalNetwork, Head, Noise


@runtime_checkable
class ImageModel(Protocol):
    """An autoregressive model of images, all of one shape."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""

    @property
    def grid(self) -> tuple[int, ...]:
        """How the T equations of a sample lie in files; T is their product."""

    @property
    def head(self) -> Head:
        """The output distribution."""

    def fold(self) -> CausalNetwork:
        """The module in the inference form."""

    def draw_noise(self, key: Array, batch_size: int) -> Noise:
        """Noise in the order of equations, leaves (T, batch, ...)."""

    def bits_per_dim(self, images: UInt8[Array, "N H W C"], key: Array) -> Float[Array, " N"]:
        """-log2 p(image) / number of values, with noise (of dequantization, or dropout in training) from ``key``."""

    def from_images(self, images: UInt8[Array, "N H W C"]) -> Float[Array, "T N ..."]:
        """Pixels as the equations have them."""

    def to_images(self, samples: Float[Array, "B ..."]) -> UInt8[Array, "B H W C"]:
        """Pixels from samples, (batch, *grid, ...)."""


@runtime_checkable
class DensityModel(Protocol):
    """A model that tells the likelihood of images, all of one shape."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""

    def bits_per_dim(self, images: UInt8[Array, "N H W C"], key: Array) -> Float[Array, " N"]:
        """-log2 p(image) / number of values, as of an ImageModel."""


@runtime_checkable
class PictureModel(Protocol):
    """A model that states the equations of its images itself: those of a flow's blocks, or of a diffusion's steps."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""

    def equations(self, key: Array, batch_size: int) -> Any:
        """The system of a batch of images, as of an EquationModel."""

    def images(self, state: Any) -> UInt8[Array, "B H W C"]:
        """The images in a state of that system, be it solved or not."""


@runtime_checkable
class InvertibleModel(Protocol):
    """A PictureModel that finds the noise of given images by equations too, and makes images of given noise."""

    Options: type

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""

    def equations(self, key: Array, batch_size: int, options: Any = None, noise: Any = None) -> Any:
        """The system of a batch of images, as of an EquationModel, of ``noise`` (batch, values of an image)."""

    def images(self, state: Any) -> UInt8[Array, "B H W C"]:
        """The images in a state of that system, or of the one from images to noise."""

    def inversion(self, images: UInt8[Array, "N H W C"], options: Any) -> Any:
        """The system whose last state is the noise of images. Raises ValueError where options allow none."""


@runtime_checkable
class Denoiser(Protocol):
    """A model that is trained to tell images from noise."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""

    @property
    def num_classes(self) -> int:
        """The number of classes of images that it is told; 0: none is."""

    def denoising_loss(
        self, images: UInt8[Array, "N H W C"], labels: Int[Array, " N"], key: Array
    ) -> Float[Array, " N"]:
        """The squared error in each image, with noise from ``key``."""


@runtime_checkable
class TextModel(Protocol):
    """An autoregressive model of text, as class ids of characters."""

    @property
    def context(self) -> int:
        """The most characters of a text."""

    @property
    def num_classes(self) -> int:
        """The number of characters that there are."""

    @property
    def head(self) -> Gumbel:
        """The output distribution."""

    @property
    def greedy(self) -> Argmax:
        """The head that always takes the likeliest class."""

    def fold(self, num_tokens: int | None = None) -> CausalNetwork:
        """The inference form for so many characters."""

    def draw_noise(self, key: Array, num_tokens: int, batch_size: int) -> Noise:
        """Noise in the order of equations, leaves (T, batch, ...)."""

    def encode(self, text: str) -> Int[np.ndarray, " N"]:
        """Class ids of a text. Raises ValueError where it has a character that the model does not know."""

    def decode(self, ids: Int[Array, " N"] | Int[np.ndarray, " N"]) -> str:
        """The text of class ids."""


@runtime_checkable
class SoundModel(Protocol):
    """An autoregressive model of sound, as class ids of any number of samples."""

    @property
    def sample_rate(self) -> int:
        """The sample rate, in Hz, of the sound that it is a model of."""

    @property
    def quantizer(self) -> Quantizer:
        """The quantizer, which says what sounds the classes stand for."""

    @property
    def head(self) -> Gumbel:
        """The output distribution."""

    @property
    def greedy(self) -> Argmax:
        """The head that always takes the likeliest class."""

    def fold(
        self, num_samples: int = 1, *, initial_value: float = 0.0, conditioning: Conditioning | None = None
    ) -> WaveNetNetwork:
        """The inference form for so many samples, after a value and on condition of what is given."""

    def draw_noise(self, key: Array, num_samples: int, batch_size: int) -> Noise:
        """Noise in the order of equations, leaves (T, batch, ...)."""

    def from_sound(self, sound: Float[Array, "..."]) -> Int[Array, "..."]:
        """Class ids of sound in [-1, 1]."""

    def to_sound(self, ids: Int[Array, "..."]) -> Float[Array, "..."]:
        """Sound in [-1, 1] of class ids."""


@runtime_checkable
class Classifier(Protocol):
    """A model that tells the class of an image."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of an image, (height, width, channels)."""

    @property
    def num_classes(self) -> int:
        """The number of classes, K."""

    def from_images(self, images: UInt8[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        """Pixels as the network reads them."""

    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B K"]:
        """Logits of the classes."""


@runtime_checkable
class Streamable(Protocol):
    """A model that reads a stream step by step, from a state that goes in and comes out."""

    def stream(self) -> StreamingNetwork:
        """The inference form for streams. Raises ValueError where an architecture of this kind cannot read any."""


@runtime_checkable
class Prepared(Protocol):
    """A model that works something out from its variables, and does so anew after they have been set."""

    def prepare(self) -> None:
        """Work it out. Raises ValueError where the variables make no sense together."""


@runtime_checkable
class EquationModel(Protocol):
    """A model that states the equations of its samples itself, whatever a sample is."""

    def equations(self, key: Array, batch_size: int) -> Any:
        """The system of a batch of samples, for noise drawn from ``key``: see solvers/system.py."""


M = TypeVar("M")
# The words for a model without a capability.
_LACKS: dict[type, str] = {
    ImageModel: "makes no images",
    DensityModel: "tells no likelihood of images",
    PictureModel: "states no equations of images",
    InvertibleModel: "finds no noise of images",
    Denoiser: "is not trained to tell images from noise",
    TextModel: "writes no text",
    SoundModel: "makes no sound",
    Classifier: "is no classifier",
    Streamable: "does not read a stream",
    EquationModel: "states no equations",
}


class CapabilityError(UserError):
    """A model cannot do what is asked of it; the message names those that can, or what a user's own model lacks."""


def require(model: Any, capability: type[M], key: str | None = None) -> M:
    """The model, which has the capability: one of the protocols above.

    Args:
        model: an instance of a class in ``MODELS``, or of one in a user's own file.
        capability: what is asked of it.
        key: the config's key that asks for it, with which the message begins.

    Raises:
        CapabilityError: the model lacks it.
    """
    if isinstance(model, capability):
        return model
    name = MODELS.name_of(type(model)) or type(model).__name__
    asked = f"{key}: " if key else ""
    if file_of(type(model)) is not None:
        raise CapabilityError(f"{asked}model {name} {_LACKS[capability]}: {_lacking(model, capability)}")
    able = sorted(name for name, kind in MODELS.items() if isinstance(kind, capability))
    raise CapabilityError(f"{asked}model {name} {_LACKS[capability]}; valid: {', '.join(able)}")


def _lacking(model: Any, protocol: type) -> str:
    """Which members of a protocol a model lacks."""
    wanted, has = {name for name in vars(protocol) if not name.startswith("_")}, set(dir(model))
    return lacks(wanted - has, has - wanted)
