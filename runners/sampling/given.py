"""What samples begin with: the first pixels of images to complete, or sound to continue and its conditions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int, Shaped, UInt8
from pydantic import Field, model_validator

from common.names import unknown
from common.paths import user_path
from data import load_dataset
from data.audio.clip import AudioError, clip_path, load_clip
from models.capabilities import ImageModel
from models.wavenet.conditioning import Conditioning
from models.wavenet.generation import prompted
from models.wavenet.network import WaveNetNetwork
from runners.config.arrays import open_arrays
from runners.config.schema import Count, DataConfig, Keys, UsageError
from solvers.systems.autoregressive import Known

_PIECE = 16384  # samples of a prompt that are read at once
# The arrays of a file with conditioning, how many axes they have, and what they hold.
_PARTS = {"classes": (1, np.integer), "vectors": (2, np.number), "frames": (3, np.number)}


class GivenImages(Keys):
    """Which images."""

    images: str | None = None  # an .npz with "images" or "samples", uint8 (batch, H, W, C); the first batch_size count
    data: DataConfig | None = None  # or the first held-out images of a dataset

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.images is None) == (self.data is None):
            raise ValueError("one of images (a file) and data is needed, and not both")
        return self


class KnownPixels(GivenImages):
    """Which images, and how many of their first pixels, in raster order, every sample begins with."""

    rows: Count | None = None  # whole rows, from the top
    pixels: Count | None = None  # or single pixels

    @model_validator(mode="after")
    def _one_amount(self) -> KnownPixels:
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
    images = load_images(config, "known_pixels", model.image_shape, batch_size)
    values = jax.jit(model.from_images)(jnp.asarray(images))
    pixels = (config.rows or 0) * width + (config.pixels or 0)  # one of them is given
    return Known(values, jnp.int32(pixels * (len(values) // (height * width))))


def load_images(
    config: GivenImages, key: str, image_shape: tuple[int, int, int], batch_size: int
) -> UInt8[np.ndarray, "B H W C"]:
    """The images that ``key`` of a config names, one for each sample.

    Raises UsageError where they are not there, too few or not of the model's shape, and DatasetError where the dataset
    cannot be had.
    """
    source, images = _images(config, key)
    if images.shape[1:] != image_shape:
        raise UsageError(
            f"{key}: the model draws images of shape {list(image_shape)}, {source} has {list(images.shape[1:])}"
        )
    if len(images) < batch_size:
        raise UsageError(f"{key}: {source} has {len(images)} images, the config says batch_size: {batch_size}")
    return images[:batch_size]


def _images(config: GivenImages, key: str) -> tuple[str, UInt8[np.ndarray, "N H W C"]]:
    """What the images are called in messages, and the images."""
    if config.data is not None:
        dataset = load_dataset(**config.data.model_dump())
        return f"the dataset {dataset.name}", dataset.held_out
    source = f"the file {config.images!r}"
    with open_arrays(user_path(str(config.images)), f"{key}: {source}") as file:
        name, images = _first_of(file, ("images", "samples"), f"{key}: {source}")
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UsageError(
            f"{key}: {source}: {name} should be uint8 of shape (batch, height, width, channels), not "
            f"{images.dtype} of shape {images.shape}"
        )
    return source, images


class PromptConfig(Keys):
    """Which sound is continued: a stretch of a wav file, the same for the whole batch, or class ids from a file."""

    wav: str | None = None  # any rate, mono or stereo; null: the embedded sentence; sentences: twenty of its voice
    start_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    duration_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None  # null: to the end
    file: str | None = None  # an .npz with "prompt", class ids (batch, P), as samples.npz has it

    @model_validator(mode="after")
    def _one_source(self) -> PromptConfig:
        named = {"wav", "start_s", "duration_s"} & self.model_fields_set
        if self.file is not None and named:
            raise ValueError(f"file holds the whole prompt; leave {', '.join(sorted(named))} out, or file")
        return self

    def stretch(self, samples: Float32[np.ndarray, " N"], sample_rate: int) -> Float32[np.ndarray, " P"]:
        """The part of a clip that is meant. Raises UsageError where it goes beyond the clip."""
        first = round(self.start_s * sample_rate)
        last = len(samples) if self.duration_s is None else first + round(self.duration_s * sample_rate)
        if max(first, last) > len(samples):
            raise UsageError(
                f"prompt: start_s {self.start_s:g} and duration_s {self.duration_s or 0:g} go beyond the clip, which "
                f"lasts {len(samples) / sample_rate:g} s"
            )
        return samples[first:last]


def load_prompt(config: PromptConfig | None, model: Any, batch_size: int) -> Int[Array, "P B"]:
    """The class ids that every sample of a WaveNet begins with, P = 0 where there is no prompt.

    Raises UsageError where the sound cannot be had, is silent or shorter than what is asked for, or the ids are not of
    the model's classes or of another batch.
    """
    if config is None:
        return jnp.zeros((0, batch_size), jnp.int32)
    if config.file is not None:
        return _from_file(user_path(config.file), model.quantizer.num_classes, batch_size)
    rate = model.sample_rate
    ids = model.from_sound(jnp.asarray(config.stretch(prompt_clip(config, rate), rate)))
    return jnp.repeat(ids[:, None], batch_size, axis=1).astype(jnp.int32)


def prompt_clip(config: PromptConfig, sample_rate: int) -> Float32[np.ndarray, " N"]:
    """The whole clip that a prompt is a stretch of, as in training. Raises UsageError where it cannot be had."""
    try:
        return load_clip(clip_path(config.wav), sample_rate).samples
    except AudioError as error:
        raise UsageError(f"prompt: {error}") from None


def network_behind(network: WaveNetNetwork, ids: Int[Array, "P B"], num_equations: int) -> WaveNetNetwork:
    """The ``num_equations`` that follow ``ids``, which follow what ``network`` begins with.

    Piece by piece: the features of a whole prompt take a thousand times its own memory.
    """
    network = network.after(network.init_cache(ids.shape[1], ids.dtype), network.origin, num_equations)
    for start in range(0, len(ids), _PIECE):
        piece = ids[start : start + _PIECE]
        network = network.after(prompted(network, piece), network.origin + len(piece), num_equations)
    return network


def load_conditioning(file: str | None, batch_size: int) -> Conditioning:
    """What the samples are conditioned on: ``classes`` (B,), ``vectors`` (B, G) and ``frames`` (B, F, L) of an .npz.

    The model says which of them it needs, and how large. Raises UsageError where the file cannot be read, or an array
    is of another name, rank, type or batch.
    """
    if file is None:
        return Conditioning()
    source = f"conditioning_file {file!r}"
    found: dict[str, Array] = {}
    with open_arrays(user_path(file), source) as arrays:
        for name in arrays:
            if name not in _PARTS:
                raise UsageError(f"{source}: {unknown('array', name, _PARTS)}")
            rank, kind = _PARTS[name]
            array = arrays[name]
            _check_batch(f"{source}: {name}", array, (rank, kind), batch_size)
            found[name] = jnp.asarray(array, jnp.int32 if kind is np.integer else jnp.float32)
    return Conditioning(**found)


def _from_file(path: Path, num_classes: int, batch_size: int) -> Int[Array, "P B"]:
    source = f"prompt: file {str(path)!r}"
    with open_arrays(path, source) as arrays:
        _, ids = _first_of(arrays, ("prompt",), source)
    _check_batch(f"{source}: prompt", ids, (2, np.integer), batch_size)
    if ids.size and (ids.min() < 0 or ids.max() >= num_classes):
        raise UsageError(
            f"{source}: class ids should be from 0 to {num_classes - 1}, the model's; they are from {ids.min()} to "
            f"{ids.max()}"
        )
    return jnp.asarray(ids.T, jnp.int32)


def _check_batch(source: str, array: Shaped[np.ndarray, "..."], like: tuple[int, Any], batch_size: int) -> None:
    """Raise UsageError unless ``array`` has so many axes, numbers of that kind, and the batch first."""
    rank, kind = like
    if array.ndim != rank or not np.issubdtype(array.dtype, kind) or np.iscomplexobj(array):
        numbers = "whole numbers" if kind is np.integer else "numbers"
        raise UsageError(f"{source} should be {numbers} of {rank} axes, batch first; it is {array.dtype} {array.shape}")
    if len(array) != batch_size:
        raise UsageError(f"{source} is a batch of {len(array)}, the config says batch_size: {batch_size}")


def _first_of(file: Mapping[str, np.ndarray], names: tuple[str, ...], source: str) -> tuple[str, np.ndarray]:
    """The first of the arrays that a file has, and its name."""
    for name in names:
        if name in file:
            return name, file[name]
    raise UsageError(f"{source} has no array {names[0]!r}; it has: {', '.join(file) or 'none'}")
