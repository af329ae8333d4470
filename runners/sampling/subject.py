"""What a sampler samples from: a model bound to noise and to what is given, as equations to solve.

Noise is drawn from the seed, or read from a file so that a sample can be drawn again. Files hold noise and samples
batch first, and the T equations as the model's grid says. Here are images, a pixel or a value an equation; sound is in
sound.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8

from common.code import file_of
from common.names import unknown
from common.options import build_options
from common.paths import user_path
from common.table import Table
from models import DENOISERS, FLOWS, SAMPLERS
from models.capabilities import (
    Classifier,
    DensityModel,
    EquationModel,
    ImageModel,
    InvertibleModel,
    PictureModel,
    SoundModel,
    TextModel,
    require,
)
from models.weights.checkpoint import Checkpoint
from models.weights.load import load_checkpoint
from runners.config.models import load
from runners.config.schema import UsageError
from runners.config.systems import usable_system
from runners.experiment import RunContext
from runners.measure.comparison import Comparison
from runners.sampling.config import SamplerConfig
from runners.sampling.files import batch_first, by_equation, load_like
from runners.sampling.given import load_known
from runners.sampling.report import Samples, steps_by_segment
from solvers.systems.autoregressive import AutoregressiveSystem, Head, Noise

NOISE = "normal_noise"  # in files, that which an InvertibleModel makes images of

HEADS: Table[Any] = Table(
    "head",
    {
        "argmax": "solvers.heads.categorical:Argmax",
        "gumbel": "solvers.heads.categorical:Gumbel",
        "inverse_cdf": "solvers.heads.categorical:InverseCDF",
    },
)


@dataclass(frozen=True)
class Subject:
    """A model ready to be sampled from."""

    checkpoint: Checkpoint
    system: Any  # its equations, for noise that is fixed
    head: Mapping[str, Any]  # the output distribution's options, as a config has them
    words: str  # of which model, for titles
    grid: tuple[int, ...]  # how the T equations of a sample lie in files
    present: Callable[[Comparison, str], Samples]  # what a comparison found, with the title of its pictures


def image_subject(config: SamplerConfig, context: RunContext, name: str | None) -> Subject:
    """The equations of a batch of images, or those that a model states itself.

    ``name`` is the model on which the runner insists, if it does.

    Raises UserError where the config asks for what cannot be had.
    """
    checkpoint = load_model(config, context.runner, name)
    if isinstance(checkpoint.model, EquationModel):
        return equation_subject(config, checkpoint)
    model = _image_model(checkpoint, context.runner)
    refuse_others(config, checkpoint.name, ("equations", "judge"), "states a pixel an equation")
    head, grid = replace_head(model.head, config.head), model.grid
    noise = make_noise(config, head, grid)
    known = None if config.known_pixels is None else load_known(config.known_pixels, model, config.batch_size)
    inputs = noise_in_files(noise, grid)

    def images(x: Shaped[np.ndarray, "T N ..."]) -> UInt8[np.ndarray, "N H W C"]:
        return np.asarray(model.to_images(jnp.asarray(batch_first(x, grid))))

    def judged(pixels: UInt8[np.ndarray, "N H W C"]) -> Float[np.ndarray, " N"]:
        return np.asarray(model.bits_per_dim(jnp.asarray(pixels), jax.random.key(config.seed)))

    def present(comparison: Comparison, title: str) -> Samples:
        return Samples(partial(batch_first, grid=grid), inputs, to_images=images, bits_per_dim=judged)

    return Subject(
        checkpoint=checkpoint,
        system=AutoregressiveSystem(model.fold(), head, noise, known),
        head=head_options(head),
        words=in_words(config, checkpoint) + (f", {config.known_pixels.amount} known" if config.known_pixels else ""),
        grid=grid,
        present=present,
    )


def equation_subject(config: SamplerConfig, checkpoint: Checkpoint) -> Subject:
    """The equations of a model that states them itself, with noise of its own from the seed.

    Raises UsageError where they cannot be had, or the config has keys that only models of images have.
    """
    refuse_others(config, checkpoint.name, ("head", "known_pixels"), "states its equations itself")
    system = usable_system(_stated(config, checkpoint), f"model {checkpoint.name}")
    if isinstance(checkpoint.model, PictureModel):
        return picture_subject(config, checkpoint, system)
    refuse_others(config, checkpoint.name, ("judge",), "draws no images")
    leaves = jax.tree.leaves(system.initial_guess())
    if len(leaves) != 1 or leaves[0].ndim < 2:
        raise UsageError(f"model {checkpoint.name}: its samples should be one array (T, batch, ...); see SystemRunner")

    def present(comparison: Comparison, title: str) -> Samples:
        return Samples(lambda x: np.moveaxis(np.asarray(jax.tree.leaves(x)[0]), 1, 0), {})

    return Subject(checkpoint, system, {}, in_words(config, checkpoint), (leaves[0].shape[0],), present)


def refuse_others(config: SamplerConfig, name: str, keys: Sequence[str], why: str) -> None:
    """Raise UsageError where a config has a key that would do nothing with the model called ``name``."""
    for key in keys:
        if getattr(config, key):
            raise UsageError(f"{key} does not go with {name}, which {why}")


def _stated(config: SamplerConfig, checkpoint: Checkpoint) -> Any:
    """The equations that a model states. Raises UsageError where it does not take the options of the config."""
    model, key = checkpoint.model, jax.random.key(config.seed)
    kind = getattr(model, "Options", None)
    noise = {} if config.noise_file is None else {"noise": _given_noise(config, model)}
    if kind is None:
        if config.equations:
            raise UsageError(f"equations: those of model {checkpoint.name} have no options")
        return model.equations(key, config.batch_size)
    with stating():
        return model.equations(key, config.batch_size, build_options(kind, config.equations), **noise)


@contextmanager
def stating() -> Iterator[None]:
    """Raise UsageError where a model does not take the options of its equations."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"equations: {error}") from None


def _given_noise(config: SamplerConfig, model: Any) -> Float[Array, "B F"]:
    """The noise that images are made of, from a file."""
    able = require(model, InvertibleModel, "noise_file")
    like = {NOISE: np.zeros((config.batch_size, math.prod(able.image_shape)), np.float32)}
    return jnp.asarray(load_like(user_path(str(config.noise_file)), "noise_file", like)[NOISE])


def picture_subject(config: SamplerConfig, checkpoint: Checkpoint, system: Any) -> Subject:
    """Images as the answer of other equations than one of each pixel: of a flow's blocks, of a diffusion's steps."""
    model = checkpoint.model
    if config.guess.file is not None:
        raise UsageError(
            f"guess: a file does not go with {checkpoint.name}, whose samples are not its equations' values"
        )
    if config.judge is not None and not config.equations.get("classes"):
        raise UsageError("judge reads images as the classes that they were to be of; equations: classes says which")
    judge = None if config.judge is None else require(load_checkpoint(config.judge).model, Classifier, "judge")
    if judge is not None and judge.image_shape != model.image_shape:
        raise UsageError(f"judge: {config.judge} reads images of shape {list(judge.image_shape)}")
    compiled = jax.jit(lambda model, x: model.images(x))

    def images(x: Any) -> UInt8[np.ndarray, "N H W C"]:
        return np.asarray(compiled(model, jax.tree.map(jnp.asarray, x)))

    def judged(pixels: UInt8[np.ndarray, "N H W C"]) -> Float[np.ndarray, " N"]:
        return np.asarray(model.bits_per_dim(jnp.asarray(pixels), jax.random.key(config.seed)))

    def present(comparison: Comparison, title: str) -> Samples:
        told = config.equations.get("classes", ())
        read = None if judge is None else read_as_told(judge, images(comparison.reference), told)
        return Samples(
            in_files=images,
            inputs={},
            to_images=images,
            bits_per_dim=judged if isinstance(model, DensityModel) else None,
            record={
                **({} if read is None else {"read_as_their_class": read}),
                **steps_by_segment(system, comparison),
            },
            sentences=[] if read is None else [f"{config.judge} reads {read:.1%} of the images as their class."],
        )

    return Subject(checkpoint, system, {}, in_words(config, checkpoint), (system.num_equations,), present)


def read_as_told(judge: Classifier, pixels: UInt8[np.ndarray, "N H W C"], classes: Sequence[int]) -> float:
    """The share of images that a classifier reads as the class that they were to be of."""
    logits = jax.jit(lambda judge, pixels: judge(judge.from_images(pixels)))(judge, jnp.asarray(pixels))
    return float(np.mean(np.argmax(np.asarray(logits), axis=1) == np.resize(classes, len(pixels))))


def _image_model(checkpoint: Checkpoint, runner: str) -> ImageModel:
    model = checkpoint.model
    if isinstance(model, ImageModel):
        return model
    if isinstance(model, SoundModel):
        raise UsageError(
            f"{runner} does not know how long a sample of {checkpoint.name} is; use WaveNetSamplerRunner, whose config "
            "says it (num_samples)"
        )
    if isinstance(model, TextModel):
        raise UsageError(f"{runner} draws images; use LanguageSamplerRunner for {checkpoint.name}")
    if file_of(type(model)) is not None:
        require(model, ImageModel)  # the sentence says what is lacking
    raise UsageError(
        f"model {checkpoint.name} is not one to sample from; valid: {', '.join(SAMPLERS | FLOWS | DENOISERS)}"
    )


def load_model(config: SamplerConfig, runner: str, name: str | None) -> Checkpoint:
    """The model that a config names. Raises UsageError where it is not ``name``, on which the runner insists."""
    said = (config.model or {}).get("name", name)
    if name is not None and said != name:
        raise UsageError(f"{runner} samples from {name}, not {said}")
    return load(config, config.seed, name)


def in_words(config: SamplerConfig, checkpoint: Checkpoint) -> str:
    """Which model, which weights, how many samples."""
    weights = "random weights" if config.checkpoint is None else config.checkpoint
    return f"{checkpoint.name}, {weights}, batch {config.batch_size}"


def head_options(head: Any) -> dict[str, Any]:
    """What may be changed in a head, a dataclass, and stands there now: its fields with a default.

    Those without one are the architecture's.
    """
    return {
        field.name: getattr(head, field.name)
        for field in dataclasses.fields(head)
        if field.default is not dataclasses.MISSING
    }


def replace_head(head: Any, options: Mapping[str, Any]) -> Any:
    """The head with other options, types checked. Raises UsageError, which names what is wrong and what is valid."""
    valid = head_options(head)
    for name in options:
        if name not in valid:
            raise UsageError(f"head: {unknown('option', name, valid)}")
    try:
        return build_options(type(head), {**vars(head), **options})
    except ValueError as error:
        raise UsageError(f"head: {error}") from None


def class_head(options: Mapping[str, Any], num_classes: int) -> tuple[str, Any]:
    """The output distribution over classes that a config's ``head`` names, by default gumbel, and its name."""
    name = options.get("name", "gumbel")
    rest = {key: value for key, value in options.items() if key != "name"}
    return name, replace_head(HEADS[name](num_classes), rest)


def make_noise(config: SamplerConfig, head: Head, grid: tuple[int, ...]) -> Noise:
    """The noise that a config asks for, in the order of equations.

    Raises UsageError where the file that it names has none that fits.
    """
    drawn = head.draw_noise(jax.random.key(config.seed), math.prod(grid), config.batch_size)
    jax.block_until_ready(drawn)  # so that too large a batch is an error and not the end of the process
    if config.noise_file is None:
        return drawn
    read = load_like(user_path(config.noise_file), "noise_file", noise_in_files(drawn, grid))
    noise = {name: jnp.asarray(by_equation(array, grid)) for name, array in read.items()}
    try:
        head.check_noise(noise)
    except ValueError as error:
        raise UsageError(f"noise_file {config.noise_file!r}: {error}") from None
    return noise


def noise_in_files(noise: Noise, grid: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Noise as files hold it, batch first."""
    return {name: batch_first(np.asarray(array), grid) for name, array in noise.items()}
