"""The keys of a sampler's config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from runners.config.models import ModelChoice
from runners.config.schema import Count, RunConfig
from runners.config.solvers import SolverList
from runners.sampling.given import GivenImages, KnownPixels, PromptConfig
from runners.sampling.guess import Guess, GuessChoice


class SamplerConfig(ModelChoice, RunConfig):
    """Which model, how many samples, what is given of them, and the solvers that are compared."""

    shares_devices: ClassVar[bool] = True
    successors: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("dataset", "data_dir"), "known_pixels, where images are completed; samplers read no others")
    }

    batch_size: Count = 16  # samples, drawn together
    noise_file: str | None = None  # an .npz with the noise's arrays, batch first, named as the model documents
    head: dict[str, Any] = Field(default_factory=dict)  # options of the output distribution: {temperature: 0.9}
    # Options of a model that states its equations itself: {method: ddim, num_steps: 100, guidance: 2, classes: [7]}
    equations: dict[str, Any] = Field(default_factory=dict)
    judge: str | None = None  # weights of a classifier, which reads sampled images; results say how many as their class
    known_pixels: KnownPixels | None = None  # images that are completed: their first pixels are given
    # What solvers guess: default, noise_free, repeat_last, n_gram or {name: n_gram, n: 3}, or the samples.npz of a
    # neighbouring run. It changes steps and no samples; results have the steps without it too.
    guess: Guess = GuessChoice()
    # Each {name: ..., options}, where max_steps, repeats and trace are options of every solver and the latter two
    # override the run's. The first sequential one is the reference for errors.
    solvers: SolverList
    repeats: Count = 5  # timed runs of each solver, after one that is not (unless it is long)
    time_limit_s: Annotated[float, Field(gt=0)] | None = None  # for each run of each solver
    trace: bool = True  # residual, frontier and error by step, the frames and the pictures made of them


class InversionConfig(SamplerConfig):
    """The keys of a sampler's config, and the images that are taken to their noise."""

    source: GivenImages  # {data: {name: mnist5k}}, its first held-out images, or {images: a file}


class LanguageSamplerConfig(SamplerConfig):
    """The keys of a sampler's config, and those of text."""

    num_tokens: Count  # T, with the prompt; at most the model's context
    prompt: str = ""  # characters that every text begins with
    batch_size: Count = 4
    # {name: argmax}, the likeliest character, or a draw: {name: gumbel, temperature: 0.9, top_k: 20, top_p: 0.95}, or
    # {name: inverse_cdf, ...}; by default gumbel
    head: dict[str, Any] = Field(default_factory=dict)


class WaveNetSamplerConfig(SamplerConfig):
    """The keys of a sampler's config, and those of sound."""

    num_samples: Count  # T: the equations that the solvers are compared on
    batch_size: Count = 1
    # {name: argmax}, the likeliest class, or {name: gumbel, temperature: 0.9}, a draw; by default gumbel
    head: dict[str, Any] = Field(default_factory=dict)
    initial_value: Annotated[float, Field(ge=-1, le=1)] = 0.0  # what the very first step reads
    prompt: PromptConfig | None = None  # sound that every sample goes on from
    conditioning_file: str | None = None  # an .npz with what the model is conditioned on, for prompt and samples
    continue_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # sound to generate behind the samples
