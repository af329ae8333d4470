"""Sample sound from WaveNet with any list of solvers, and go on generating it in constant memory."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from pydantic import Field

from common.names import unknown
from data.audio.clip import load_clip
from models.heads.categorical import HEADS
from models.wavenet.generation import Generation
from models.wavenet.network import WaveNetNetwork
from runners.config.schema import RunConfig, UsageError
from runners.measure.comparison import Comparison
from runners.measure.generation import Continuation, continued
from runners.plotting.picture import Picture
from runners.plotting.sound import WaveFile, one_after_the_other
from runners.report.report import Artifact
from runners.sampling.figures import Clip, SampledSound, sound_figure
from runners.sampling.head import head_options, replace_head
from runners.sampling.prompt import PromptConfig, load_conditioning, load_prompt, network_behind, prompt_clip
from runners.sampling.report import Samples
from runners.sampling.runner import SamplerConfig, SamplerRunner

_EMBEDDED = "speech"  # what weights that were trained on the embedded clip say of themselves


class WaveNetSamplerConfig(SamplerConfig):
    """The keys of a sampler's config, and those of sound."""

    num_samples: Annotated[int, Field(ge=2)]  # T: the equations that the solvers are compared on
    batch_size: Annotated[int, Field(ge=1)] = 1
    # {name: argmax}, the likeliest class, or {name: gumbel, temperature: 0.9}, a draw; by default gumbel
    head: dict[str, Any] = Field(default_factory=dict)
    initial_value: Annotated[float, Field(ge=-1, le=1)] = 0.0  # what the very first step reads
    prompt: PromptConfig | None = None  # sound that every sample goes on from
    conditioning_file: str | None = None  # an .npz with what the model is conditioned on, for prompt and samples
    continue_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # sound to generate behind the samples


class WaveNetSamplerRunner(SamplerRunner):
    """WaveNet: T samples of sound, one equation each, and as much more of it as is wanted."""

    Config: ClassVar[type[RunConfig]] = WaveNetSamplerConfig
    model_name = "wavenet"
    config: WaveNetSamplerConfig

    @cached_property
    def prompt(self) -> Int[Array, "P B"]:
        """The class ids that are given."""
        return load_prompt(self.config.prompt, self.checkpoint.model, self.config.batch_size)

    @property
    def num_continued(self) -> int:
        """Samples that are generated behind those that are solved for."""
        return round(self.config.continue_s * self.checkpoint.model.config.sample_rate)

    def _grid(self) -> tuple[int, ...]:
        return (self.config.num_samples,)

    def _head(self) -> Any:
        name = self._head_name
        if name not in list(HEADS):
            raise UsageError(f"head: {unknown('name', name, HEADS)}")
        options = {key: value for key, value in self.config.head.items() if key != "name"}
        return replace_head(HEADS[name](self.checkpoint.model.config.num_classes), options)

    def _head_record(self) -> dict[str, Any]:
        return {"name": self._head_name, **head_options(self.head)}

    @property
    def _head_name(self) -> Any:
        return self.config.head.get("name", "gumbel")

    def _network(self) -> WaveNetNetwork:
        """The network behind the prompt."""
        config, length = self.config, len(self.prompt)
        given = load_conditioning(config.conditioning_file, config.batch_size)
        total = length + config.num_samples + self.num_continued
        try:
            whole = self.checkpoint.model.fold(total, initial_value=config.initial_value, conditioning=given)
        except ValueError as error:
            if config.conditioning_file is None:
                raise UsageError(str(error)) from None
            sentence = str(error).removeprefix("conditioning: ")
            raise UsageError(f"conditioning_file {config.conditioning_file!r}: {sentence}") from None
        return network_behind(whole, self.prompt, config.num_samples)

    def _samples(self, comparison: Comparison, title: str) -> Samples:
        ids = np.asarray(comparison.reference)
        continuation = self._continue(ids) if self.num_continued else None
        nothing = np.zeros((0, ids.shape[1]), np.int32)
        rate = self.checkpoint.model.config.sample_rate
        sound = SampledSound(
            prompt=self._sound(self.prompt),
            samples=self._sound(ids),
            continuation=self._sound(nothing if continuation is None else continuation.ids),
            sample_rate=rate,
            clip=self._clip(),
        )
        artifacts: list[Artifact] = [WaveFile("samples.wav", one_after_the_other(sound.samples, rate), rate)]
        if continuation is not None:
            whole = np.concatenate([sound.samples, sound.continuation], axis=1)
            artifacts.append(WaveFile("generated.wav", one_after_the_other(whole, rate), rate))
        return Samples(
            samples=ids.T,
            inputs={**self.noise, "prompt": np.asarray(self.prompt).T},
            record={
                "identical_to_reference": {row.label: row.max_abs_error == 0 for row in comparison.rows},
                "generation": None if continuation is None else continuation.record,
            },
            artifacts=[*artifacts, Picture("audio.png", lambda: sound_figure(sound, title))],
        )

    def _continue(self, ids: Int[np.ndarray, "T B"]) -> Continuation:
        """Go on behind the samples, by the queues."""
        self.context.console.print(f"generating {self.config.continue_s:g} s more ...", highlight=False)
        behind = network_behind(self.system.network, jnp.asarray(ids), self.num_continued)
        cache = behind.init_cache(ids.shape[1], ids.dtype)
        state = Generation(cache, behind.origin, jnp.int32(len(ids)), jax.random.key(self.config.seed))
        rate = self.checkpoint.model.config.sample_rate
        return continued(self.system.network, self.head, state, self.num_continued, rate)

    def _sound(self, ids: Any) -> np.ndarray:
        """(N, B) class ids as sound, batch first."""
        return np.asarray(self.checkpoint.model.to_sound(jnp.asarray(ids))).T

    def _clip(self) -> Clip | None:
        """The clip that the prompt is from, or that the weights were trained on, where it is known."""
        prompt, rate = self.config.prompt, self.checkpoint.model.config.sample_rate
        if prompt is not None and prompt.file is None:
            name = "the embedded speech" if prompt.wav is None else "the clip that is continued"
            return Clip(name, prompt_clip(prompt, rate)[round(prompt.start_s * rate) :])
        if prompt is None and self.checkpoint.info.get("dataset") == _EMBEDDED:
            return Clip("training clip", load_clip(None, rate).samples)
        return None

    def _subject(self) -> str:
        seconds = len(self.prompt) / self.checkpoint.model.config.sample_rate
        given = f", behind a prompt of {seconds:g} s" if seconds else ""
        return f"{super()._subject()}, {self._head_name}{given}"
