"""Text to sample: a character of it an equation, behind a prompt, with the characters that each step makes certain."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from models.capabilities import TextModel, require
from runners.config.schema import UsageError
from runners.experiment import RunContext
from runners.measure.comparison import Comparison
from runners.plotting.picture import Picture
from runners.report.files import TextFile
from runners.report.report import Artifact
from runners.sampling.config import LanguageSamplerConfig
from runners.sampling.figures import accepted_figure
from runners.sampling.report import Samples
from runners.sampling.subject import (
    Subject,
    class_head,
    head_options,
    in_words,
    load_model,
    make_noise,
    noise_in_files,
    refuse_others,
)
from solvers.systems.autoregressive import AutoregressiveSystem, Known


def text_subject(config: LanguageSamplerConfig, context: RunContext, name: str | None) -> Subject:
    """The equations of a batch of texts. ``name`` is the model on which the runner insists, if it does.

    Raises UserError where the config asks for what cannot be had.
    """
    checkpoint = load_model(config, context.runner, name)
    model = require(checkpoint.model, TextModel)
    refuse_others(
        config, checkpoint.name, ("known_pixels", "equations", "judge"), "writes text, a character an equation"
    )
    length = config.num_tokens
    head_name, head = class_head(config.head, model.num_classes)
    try:
        network, prompt = model.fold(length), model.encode(config.prompt)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if len(prompt) >= length:
        raise UsageError(f"prompt has {len(prompt)} characters, which leaves none of {length} (num_tokens) to find")
    noise = make_noise(config, head, (length,))
    known = Known(_everywhere(prompt, length, config.batch_size), jnp.int32(len(prompt))) if len(prompt) else None

    def present(comparison: Comparison, title: str) -> Samples:
        ids = np.asarray(comparison.reference).T
        texts = [model.decode(each) for each in ids]
        return Samples(
            in_files=lambda x: np.asarray(x).T,
            inputs=noise_in_files(noise, (length,)),
            record={
                "identical_to_reference": {row.label: row.max_abs_error == 0 for row in comparison.rows},
                "tokens_a_step": _tokens_a_step(comparison, length, len(prompt)),
            },
            artifacts=_artifacts(texts, comparison, length, title),
        )

    return Subject(
        checkpoint=checkpoint,
        system=AutoregressiveSystem(network, head, noise, known),
        head={"name": head_name, **head_options(head)},
        words=f"{in_words(config, checkpoint)}, {head_name}" + (f", prompt {config.prompt[:20]!r}" if known else ""),
        grid=(length,),
        present=present,
    )


def _everywhere(prompt: Int[np.ndarray, " P"], length: int, batch_size: int) -> Any:
    """The prompt at the beginning of each of a batch of texts."""
    return jnp.asarray(np.repeat(np.pad(prompt, (0, length - len(prompt)))[:, None], batch_size, axis=1))


def _tokens_a_step(comparison: Comparison, length: int, given: int) -> dict[str, float]:
    """How many characters a step finds, in the mean over the samples; of solvers that solved all of them.

    Those of the prompt count as well for a solver that goes through them one by one.
    """
    found = {}
    for row in comparison.rows:
        steps = np.asarray(row.steps_to_convergence, float)
        if (steps > 0).all():
            count = length if row.num_steps >= length else length - given
            found[row.label] = float(np.mean(count / steps))
    return found


def _artifacts(texts: list[str], comparison: Comparison, length: int, title: str) -> list[Artifact]:
    """The texts, and the first of them with the step at which each character was certain in all texts."""
    parted = "\n\n".join(f"--- {i + 1} ---\n{text}" for i, text in enumerate(texts))
    ways = {row.label: _steps_of(row.trace, length) for row in comparison.rows if row.trace is not None}
    pictures = [Picture("accepted.png", partial(accepted_figure, texts[0], ways, title))] if ways else []
    return [TextFile("samples.txt", (parted + "\n").encode()), *pictures]


def _steps_of(trace: dict[str, np.ndarray], length: int) -> Int[np.ndarray, " T"]:
    """The number of steps after which each character is certain in all samples."""
    frontier = np.maximum.accumulate(trace["frontier"])
    place = np.searchsorted(frontier, np.arange(length), side="right")
    return trace["num_steps"][np.minimum(place, len(frontier) - 1)]
