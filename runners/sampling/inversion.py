"""Inverting a sampler: from images to the noise that they are made of, and back, as a model states the equations."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from common.options import build_options
from models.capabilities import InvertibleModel, require
from runners.config.systems import usable_system
from runners.experiment import RunContext
from runners.measure.comparison import Comparison
from runners.plotting.picture import Picture, sample_grid
from runners.sampling.config import InversionConfig
from runners.sampling.given import load_images
from runners.sampling.report import Samples
from runners.sampling.subject import NOISE, Subject, in_words, load_model, refuse_others, stating
from solvers import CachedSequential, solve


def inversion_subject(config: InversionConfig, context: RunContext, name: str | None) -> Subject:
    """The equations from images to their noise.

    The samples of such a run are the images that come back of the noise, by the loop; beside them samples.npz has the
    noise, so that it can be the ``noise_file`` of a sampler. Raises UserError where the config asks for what cannot be
    had.
    """
    checkpoint = load_model(config, context.runner, name)
    model = require(checkpoint.model, InvertibleModel, context.runner)
    others = ("noise_file", "head", "known_pixels", "judge")
    refuse_others(config, checkpoint.name, others, "is asked for the noise of images")
    given = load_images(config.source, "source", model.image_shape, config.batch_size)
    with stating():
        options: Any = build_options(model.Options, config.equations)
        equations = model.inversion(jnp.asarray(given), options)
    system = usable_system(equations, f"model {checkpoint.name}")
    seen = jax.jit(lambda model, x: model.images(x))

    def forward(model: Any, noise: Float[np.ndarray, "B F"]) -> Any:
        key = jax.random.key(config.seed)  # of nothing, as the noise is given
        return model.images(solve(model.equations(key, len(noise), options, noise), CachedSequential()).value)

    made = jax.jit(forward)

    def images(x: Any) -> UInt8[np.ndarray, "B H W C"]:
        return np.asarray(seen(model, jax.tree.map(jnp.asarray, x)))

    def returned(x: Any) -> UInt8[np.ndarray, "B H W C"]:
        return np.asarray(made(model, _last(x)))

    def present(comparison: Comparison, title: str) -> Samples:
        noise, back = comparison.reference, returned(comparison.reference)
        off = np.abs(back.astype(int) - given)
        mean, largest = float(off.mean()), int(off.max())
        rows = np.concatenate([given, images(noise), back])
        return Samples(
            in_files=returned,
            inputs={"images": given, NOISE: _last(noise)},
            to_images=images,
            record={"round_trip": {"mean_difference": mean, "largest_difference": largest}},
            sentences=[f"Back from the noise, pixels are off by {mean:.2g} of 255 in the mean and {largest} at most."],
            artifacts=[Picture("round_trip.png", partial(sample_grid, rows))],
        )

    return Subject(checkpoint, system, {}, in_words(config, checkpoint), (system.num_equations,), present)


def _last(x: Any) -> Float[np.ndarray, "B F"]:
    """The last state, which is the noise."""
    return np.asarray(jax.tree.leaves(x)[0])[-1]
