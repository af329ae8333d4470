"""Sound through a network chunk by chunk, as it would come from a microphone: latencies, and what the network hears."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
from pydantic import Field

from common.paths import user_path
from data.audio.stream import SoundStream
from models.weights.stream_state import StateError, load_state, save_state
from runners.config.models import ModelChoice, load, resolved
from runners.config.schema import Count, RunConfig, UsageError
from runners.experiment import RunContext, RunFailure
from runners.report.report import Report
from runners.stream.journal import keep_journal
from runners.stream.listener import Session, listener
from runners.stream.report import StreamResult, stream_report

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StreamConfig(RunConfig, ModelChoice):
    """A network, a sound and the chunks that it comes in; ``seed`` is that of random weights."""

    wav: str | None = None  # a file, read chunk by chunk; none: the spoken sentence that comes with the project
    gain: Positive = 1.0  # by which the sound is multiplied: weights may be of a clip that reached full scale
    resample: bool = False  # to the model's rate where the file has another, which reads all of the file first
    chunk_ms: Positive = 10.0
    chunk_samples: Count | None = None  # in the place of chunk_ms
    repeat: Count = 1  # how often the sound is played, without a break
    check_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3.0  # from the beginning, held against a full pass
    restore_state: str | None = None  # a file of save_state, from which the stream goes on
    save_state: str | None = None  # where the state at the end goes

    def chunk_size(self, sample_rate: int) -> int:
        """Samples of a chunk. Raises UsageError where that is less than one."""
        if self.chunk_samples is not None:
            return self.chunk_samples
        size = round(self.chunk_ms * sample_rate / 1000)
        if size < 1:
            raise UsageError(f"chunk_ms {self.chunk_ms:g} is less than a sample at {sample_rate} Hz")
        return size


class StreamRunner:
    """A network on a stream of sound: a WaveNet, which tells how surprising it is, or a StreamingConvNet.

    The state goes from chunk to chunk, so that what comes out is what one pass over the whole sound would give.
    """

    Config: ClassVar[type[RunConfig]] = StreamConfig

    def __init__(self, config: StreamConfig, context: RunContext) -> None:
        """Load the network, look at the sound and at the state; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.checkpoint = load(config, config.seed)
        name, model = self.checkpoint.name, self.checkpoint.model
        self.listener = listener(name, model)
        rate = getattr(model.config, "sample_rate", None)
        self.sound = SoundStream.open(config.wav, rate, may_resample=config.resample, repeat=config.repeat)
        self.chunk_size = config.chunk_size(self.sound.sample_rate)
        self.first = jax.jit(lambda listener: listener.begin())(self.listener)
        if config.restore_state is not None:
            try:
                self.first = load_state(user_path(config.restore_state), self.first, model)
            except StateError as error:
                raise UsageError(f"restore_state: {error}") from None
        if config.save_state is not None:
            _check_target(config.save_state)

    def run(self) -> Report:
        """Hear it all; the state at the end is saved once the results are on disk.

        The report fails where what comes out is not what a full pass gives. Raises RunFailure where it is not finite.
        """
        config, rate = self.config, self.sound.sample_rate
        session = Session(self.listener, self.first, self.chunk_size, config.gain)
        chunks = session.play(self.sound.chunks(self.chunk_size))
        journal = keep_journal(chunks, rate, round(config.check_s * rate), self.context.console)
        heard = journal.first_sound
        result = StreamResult(
            journal=journal,
            label=self.listener.label,
            chunk_size=self.chunk_size,
            difference=float(np.max(np.abs(session.full_pass(heard) - journal.first_outputs))) if len(heard) else None,
            compile_s=session.compile_s,
            state_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves(session.state)),
        )
        save = []
        if config.save_state is not None:
            path = user_path(config.save_state)
            save = [lambda place: _save(path, session.state, self.checkpoint.model)]
        weights = "random weights" if config.checkpoint is None else config.checkpoint
        title = f"{self.context.name}: {self.checkpoint.name}, {weights}, {self.sound.path.name}"
        return stream_report(title, resolved(config, self.checkpoint), result, save)


def _save(path: Path, state: Any, model: Any) -> None:
    """Keep the state at the end. Raises RunFailure where nothing can go on from it."""
    try:
        save_state(path, state, model)
    except StateError as error:
        raise RunFailure(str(error)) from None


def _check_target(save_state: str) -> None:
    """Raise UsageError where no file can be written there, or no folder made for it."""
    path = user_path(save_state)
    if path.is_dir():
        raise UsageError(f"save_state {save_state!r} is a folder; expected a file")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"save_state {save_state!r} cannot be written: {str(above)!r} is a file, not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"save_state {save_state!r} cannot be written: folder {str(above)!r} is write-protected")
