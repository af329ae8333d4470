"""The keys of a stream's config."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from runners.config.schema import RunConfig, UsageError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class StreamConfig(RunConfig):
    """A network, a sound and the chunks that it comes in; ``seed`` is that of random weights."""

    checkpoint: str | None = None  # a name in the registry or a path; none: random weights, marked as such
    model: dict[str, Any] | None = None  # the architecture; may be left out where a checkpoint tells it
    wav: str | None = None  # a file, read chunk by chunk; none: the spoken sentence that comes with the project
    gain: Positive = 1.0  # by which the sound is multiplied: weights may be of a clip that reached full scale
    resample: bool = False  # to the model's rate where the file has another, which reads all of the file first
    chunk_ms: Positive = 10.0
    chunk_samples: Count | None = None  # in the place of chunk_ms
    repeat: Count = 1  # how often the sound is played, without a break
    check_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3.0  # from the beginning, held against a full pass
    restore_state: str | None = None  # a file of save_state, from which the stream goes on
    save_state: str | None = None  # where the state at the end goes

    @model_validator(mode="after")
    def _need_model(self) -> StreamConfig:
        if self.model is None and self.checkpoint is None:
            raise ValueError("model or checkpoint is needed")
        return self

    def chunk_size(self, sample_rate: int) -> int:
        """Samples of a chunk. Raises UsageError where that is less than one."""
        if self.chunk_samples is not None:
            return self.chunk_samples
        size = round(self.chunk_ms * sample_rate / 1000)
        if size < 1:
            raise UsageError(f"chunk_ms {self.chunk_ms:g} is less than a sample at {sample_rate} Hz")
        return size
