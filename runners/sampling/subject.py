"""What a sampler samples from: a model bound to noise and to what is given, as equations to solve.

Here are images, a pixel or a value an equation, from noise, or completed from their first pixels; sound.py has sound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped, UInt8

from common.names import unknown
from common.options import build_options
from models import SAMPLERS
from models.autoregressive import AutoregressiveSystem
from models.capabilities import ImageModel, SoundModel
from models.weights.checkpoint import Checkpoint
from runners.config.models import load
from runners.config.schema import UsageError
from runners.experiment import RunContext
from runners.measure.comparison import Comparison
from runners.sampling.config import SamplerConfig
from runners.sampling.given import load_known
from runners.sampling.noise import batch_first, make_noise, noise_in_files
from runners.sampling.report import Samples


@dataclass(frozen=True)
class Subject:
    """A model ready to be sampled from."""

    checkpoint: Checkpoint
    system: AutoregressiveSystem  # its equations, for noise that is fixed
    head: Mapping[str, Any]  # the output distribution's options, as a config has them
    words: str  # of which model, for titles
    present: Callable[[Comparison, str], Samples]  # what a comparison found, with the title of its pictures


def image_subject(config: SamplerConfig, context: RunContext, name: str | None) -> Subject:
    """The equations of a batch of images. ``name`` is the model on which the runner insists, if it does.

    Raises UserError where the config asks for what cannot be had.
    """
    checkpoint = load_model(config, context.runner, name)
    model = _image_model(checkpoint, context.runner)
    head, grid = replace_head(model.head, config.head), model.grid
    noise = make_noise(config, head, grid)
    known = None if config.known_pixels is None else load_known(config.known_pixels, model, config.batch_size)
    inputs = noise_in_files(noise, grid)

    def images(x: Shaped[np.ndarray, "T N ..."]) -> UInt8[np.ndarray, "N H W C"]:
        return np.asarray(model.to_images(jnp.asarray(batch_first(x, grid))))

    def present(comparison: Comparison, title: str) -> Samples:
        return Samples(batch_first(comparison.reference, grid), inputs, to_images=images)

    return Subject(
        checkpoint=checkpoint,
        system=AutoregressiveSystem(model.fold(), head, noise, known),
        head=head_options(head),
        words=in_words(config, checkpoint) + (f", {config.known_pixels.amount} known" if config.known_pixels else ""),
        present=present,
    )


def _image_model(checkpoint: Checkpoint, runner: str) -> ImageModel:
    model = checkpoint.model
    if isinstance(model, ImageModel):
        return model
    if isinstance(model, SoundModel):
        raise UsageError(
            f"{runner} does not know how long a sample of {checkpoint.name} is; use WaveNetSamplerRunner, whose config "
            "says it (num_samples)"
        )
    raise UsageError(f"model {checkpoint.name} is not one to sample from; valid: {', '.join(SAMPLERS)}")


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
