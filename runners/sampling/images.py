"""Images to sample: a pixel or a value an equation, from noise, or completed from their first pixels."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped, UInt8

from models import SAMPLERS
from models.autoregressive import AutoregressiveSystem
from models.capabilities import ImageModel, SoundModel
from models.weights.checkpoint import Checkpoint
from runners.config.schema import UsageError
from runners.measure.comparison import Comparison
from runners.sampling.config import SamplerConfig
from runners.sampling.head import head_options, replace_head
from runners.sampling.known_pixels import load_known
from runners.sampling.layout import batch_first
from runners.sampling.noise import make_noise, noise_in_files
from runners.sampling.report import Samples
from runners.sampling.subject import Subject, in_words, load_model


def image_subject(config: SamplerConfig, runner: str, name: str | None) -> Subject:
    """The equations of a batch of images. Raises UserError where the config asks for what cannot be had.

    Args:
        config: the sampler's.
        runner: its name, for messages.
        name: the model on which the runner insists, if it does.
    """
    checkpoint = load_model(config, runner, name)
    model = _image_model(checkpoint, runner)
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
