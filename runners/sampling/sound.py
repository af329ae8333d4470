"""Sound to sample: a sample of it an equation, behind a prompt, and generated further in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from data.audio.clip import EMBEDDED, load_clip
from models.capabilities import ImageModel, SoundModel, require
from models.wavenet.generation import Generation
from models.wavenet.network import WaveNetNetwork
from models.weights.checkpoint import Checkpoint
from runners.config.schema import UsageError
from runners.experiment import RunContext
from runners.measure.comparison import Comparison
from runners.measure.generation import Continuation, continued
from runners.plotting.audio import WaveFile, one_after_the_other
from runners.plotting.picture import Picture
from runners.report.report import Artifact
from runners.sampling.config import WaveNetSamplerConfig
from runners.sampling.figures import Clip, SampledSound, sound_figure
from runners.sampling.given import PromptConfig, load_conditioning, load_prompt, network_behind, prompt_clip
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
from solvers.systems.autoregressive import AutoregressiveSystem


def sound_subject(config: WaveNetSamplerConfig, context: RunContext, name: str | None) -> Subject:
    """The equations of a batch of sounds. ``name`` is the model on which the runner insists, if it does.

    Raises UserError where the config asks for what cannot be had.
    """
    checkpoint = load_model(config, context.runner, name)
    model = require(checkpoint.model, SoundModel)
    if config.known_pixels is not None:
        require(model, ImageModel, "known_pixels")
    refuse_others(config, checkpoint.name, ("equations", "judge"), "makes sound, a sample an equation")
    head_name, head = class_head(config.head, model.quantizer.num_classes)
    noise = make_noise(config, head, (config.num_samples,))
    prompt = load_prompt(config.prompt, model, config.batch_size)
    count = round(config.continue_s * model.sample_rate)  # samples that are generated behind those that are solved for
    system = AutoregressiveSystem(_network(config, model, prompt, count), head, noise)

    def present(comparison: Comparison, title: str) -> Samples:
        ids = np.asarray(comparison.reference)
        goes_on = count > 0 and not comparison.interrupted  # who has stopped the run does not wait for more sound
        if goes_on:
            context.say(f"generating {config.continue_s:g} s more ...")
        behind = _continued(system, ids, count, config.seed, model.sample_rate) if goes_on else None
        sound = SampledSound(
            prompt=_sound(model, prompt),
            samples=_sound(model, ids),
            continuation=_sound(model, np.zeros_like(ids[:0]) if behind is None else behind.ids),
            sample_rate=model.sample_rate,
            clip=_clip(config.prompt, checkpoint, model.sample_rate),
        )
        return Samples(
            in_files=lambda x: np.asarray(x).T,
            inputs={**noise_in_files(noise, (config.num_samples,)), "prompt": np.asarray(prompt).T},
            record={
                "identical_to_reference": {row.label: row.max_abs_error == 0 for row in comparison.rows},
                "generation": None if behind is None else behind.record,
            },
            artifacts=[*_artifacts(sound, title), *_rough(model, comparison)],
        )

    seconds = len(prompt) / model.sample_rate
    given = f", behind a prompt of {seconds:g} s" if seconds else ""
    return Subject(
        checkpoint=checkpoint,
        system=system,
        head={"name": head_name, **head_options(head)},
        words=f"{in_words(config, checkpoint)}, {head_name}{given}",
        grid=(config.num_samples,),
        present=present,
    )


def _network(config: WaveNetSamplerConfig, model: SoundModel, prompt: Int[Array, "P B"], more: int) -> WaveNetNetwork:
    """The network behind the prompt; ``more`` samples follow those that it is solved for."""
    given = load_conditioning(config.conditioning_file, config.batch_size)
    total = len(prompt) + config.num_samples + more
    try:
        whole = model.fold(total, initial_value=config.initial_value, conditioning=given)
    except ValueError as error:
        if config.conditioning_file is None:
            raise UsageError(str(error)) from None
        sentence = str(error).removeprefix("conditioning: ")
        raise UsageError(f"conditioning_file {config.conditioning_file!r}: {sentence}") from None
    return network_behind(whole, prompt, config.num_samples)


def _continued(
    system: AutoregressiveSystem, ids: Int[np.ndarray, "T B"], count: int, seed: int, sample_rate: int
) -> Continuation:
    """Go on behind the samples, by the queues."""
    behind = network_behind(system.network, jnp.asarray(ids), count)
    cache = behind.init_cache(ids.shape[1], ids.dtype)
    state = Generation(cache, behind.origin, jnp.int32(len(ids)), jax.random.key(seed))
    return continued(system.network, system.head, state, count, sample_rate)


def _sound(model: SoundModel, ids: Int[Any, "N B"]) -> Float[np.ndarray, "B N"]:
    """Class ids as sound, batch first."""
    return np.asarray(model.to_sound(jnp.asarray(ids))).T


def _artifacts(sound: SampledSound, title: str) -> Iterator[Artifact]:
    """Samples as wav files and a picture, with what was generated behind them."""
    rate = sound.sample_rate
    yield WaveFile("samples.wav", one_after_the_other(sound.samples, rate), rate)
    if sound.continuation.size:
        whole = np.concatenate([sound.samples, sound.continuation], axis=1)
        yield WaveFile("generated.wav", one_after_the_other(whole, rate), rate)
    yield Picture("audio.png", partial(sound_figure, sound, title))


def _rough(model: SoundModel, comparison: Comparison) -> Iterator[Artifact]:
    """What solvers found that stopped on purpose, in the order of the rows, to hear beside the exact samples."""
    rough = [_sound(model, row.value) for row in comparison.rows if row.roughness is not None]
    if rough:
        rate = model.sample_rate
        yield WaveFile("stopped.wav", one_after_the_other(np.concatenate(rough), rate), rate)


def _clip(prompt: PromptConfig | None, checkpoint: Checkpoint, rate: int) -> Clip | None:
    """The clip that the prompt is from, or that the weights were trained on, where it is known."""
    if prompt is not None and prompt.file is None:
        name = "the embedded speech" if prompt.wav in (None, *EMBEDDED) else "the clip that is continued"
        return Clip(name, prompt_clip(prompt, rate)[round(prompt.start_s * rate) :])
    dataset = checkpoint.info.get("dataset")
    if prompt is None and dataset in EMBEDDED:
        return Clip("training clip", load_clip(EMBEDDED[dataset], rate).samples)
    return None
