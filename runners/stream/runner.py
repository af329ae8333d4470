"""Sound through a network chunk by chunk, as it would come from a microphone: latencies, and what the network hears."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from flax import nnx
from rich import box
from rich.console import Console
from rich.table import Table

from common.files import replaced_folder
from data.audio.stream import SoundStream
from models import ModelError, describe_config, model_class, model_config
from models.weights.checkpoint import Checkpoint, CheckpointError
from models.weights.load import load_checkpoint
from models.weights.stream_state import StateError, load_state, save_state
from runners.cli.publish import SCHEMA, write_json
from runners.config.schema import RunConfig, UsageError
from runners.experiment import RunContext, RunFailure
from runners.report.environment import describe_environment
from runners.report.units import format_bytes, format_seconds
from runners.stream.config import StreamConfig
from runners.stream.figures import stream_figure
from runners.stream.journal import Journal, keep_journal
from runners.stream.listener import listener
from runners.stream.session import Session

_TOLERANCE = 1e-5  # of the largest output, which counts as 1 at the least


@dataclass(frozen=True)
class StreamResult:
    """A stream that is over."""

    journal: Journal
    difference: float | None  # greatest, of the outputs from a full pass's; None: not looked at
    compile_s: float
    state_bytes: int


class StreamRunner:
    """A network on a stream of sound: a WaveNet, which tells how surprising it is, or a StreamingConvNet.

    The state goes from chunk to chunk, so that what comes out is what one pass over the whole sound would give.
    """

    Config: ClassVar[type[RunConfig]] = StreamConfig

    def __init__(self, config: StreamConfig, context: RunContext) -> None:
        """Load the network, look at the sound and at the state; everything that can be refused is refused here."""
        self.config, self.context = config, context
        self.checkpoint = self._load()
        name, model = self.checkpoint.name, self.checkpoint.model
        self.listener = listener(name, model)
        rate = getattr(model.config, "sample_rate", None)
        self.sound = SoundStream.open(config.wav, rate, may_resample=config.resample, repeat=config.repeat)
        self.chunk_size = config.chunk_size(self.sound.sample_rate)
        self.first = jax.jit(lambda listener: listener.begin())(self.listener)
        if config.restore_state is not None:
            try:
                self.first = load_state(Path(config.restore_state).expanduser(), self.first, model)
            except StateError as error:
                raise UsageError(f"restore_state: {error}") from None
        if config.save_state is not None:
            _check_target(config.save_state)

    def run(self) -> None:
        """Hear it all, write results and state, print the table.

        Raises RunFailure where what comes out is not finite, or (after all is written) not what a full pass gives.
        """
        config, rate = self.config, self.sound.sample_rate
        session = Session(self.listener, self.first, self.chunk_size, config.gain)
        steps = session.play(self.sound.chunks(self.chunk_size))
        journal = keep_journal(steps, rate, round(config.check_s * rate), self.context.console)
        state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(session.state))
        outcome = StreamResult(journal, _difference(session, journal), session.compile_s, state_bytes)
        with replaced_folder(self.context.out) as folder:
            self._write(folder, outcome)
        if config.save_state is not None:
            save_state(Path(config.save_state).expanduser(), session.state, self.checkpoint.model)
        self._print(outcome)
        _check(outcome)

    def _load(self) -> Checkpoint:
        """The model: from a checkpoint, or with random weights."""
        config = self.config
        try:
            if config.checkpoint is not None:
                return load_checkpoint(config.checkpoint, config.model)
            architecture = model_config(config.model or {})
            name = str((config.model or {})["name"])
            model = model_class(name)(architecture, rngs=nnx.Rngs(config.seed))
        except (CheckpointError, ModelError) as error:
            raise UsageError(str(error)) from None
        return Checkpoint(name, model, {"weights": "random"}, trained=False)

    def _write(self, folder: Path, outcome: StreamResult) -> None:
        journal, chunk_s = outcome.journal, self.chunk_size / self.sound.sample_rate
        write_json(folder / "results.json", self._record(outcome))
        np.savez_compressed(
            folder / "outputs.npz",
            time_s=journal.time_s,
            num_samples=journal.sizes.astype(np.int64),
            latency_s=journal.latency_s,
            values=journal.values,
            low=journal.low,
            high=journal.high,
        )
        stream_figure(folder / "stream.png", journal, self.listener.label, chunk_s, self._title())

    def _record(self, outcome: StreamResult) -> dict[str, Any]:
        journal, name = outcome.journal, self.checkpoint.name
        p50, p99 = (float(np.percentile(journal.latency_s, part)) for part in (50, 99))
        return {
            "schema": SCHEMA,
            "name": self.context.name,
            "runner": self.context.runner,
            "config": self.config.model_dump()
            | {"model": describe_config(name, self.checkpoint.model.config), "weights": self.checkpoint.info},
            "seed": self.config.seed,
            **describe_environment(),
            "stream": {
                "sample_rate": journal.sample_rate,
                "num_samples": journal.num_samples,
                "duration_s": journal.duration_s,
                "chunk_samples": self.chunk_size,
                "num_chunks": len(journal.sizes),
                "state_bytes": outcome.state_bytes,
            },
            "compile_s": outcome.compile_s,
            "latency_s": {"p50": p50, "p99": p99, "max": float(journal.latency_s.max())},
            "late_chunks": journal.late,
            "real_time_factor": journal.real_time_factor,
            "values": {"label": self.listener.label, "mean": journal.mean_values.tolist()},
            "full_pass": {"num_samples": len(journal.first_sound), "max_abs_difference": outcome.difference},
        }

    def _title(self) -> str:
        weights = "random weights" if self.config.checkpoint is None else self.config.checkpoint
        return f"{self.context.name}: {self.checkpoint.name}, {weights}, {self.sound.path.name}"

    def _print(self, outcome: StreamResult) -> None:
        journal, rate = outcome.journal, self.sound.sample_rate
        console = Console()
        if not console.is_terminal:
            console = Console(width=160)  # no cell may be cut
        table = Table(title=self._title(), box=box.SIMPLE_HEAD, title_justify="left")
        label, means = self.listener.label, journal.mean_values
        p50, p99 = (float(np.percentile(journal.latency_s, part)) for part in (50, 99))
        cells = {
            "chunk": f"{format_seconds(self.chunk_size / rate)} ({self.chunk_size})",
            "chunks": f"{len(journal.sizes):,}",
            "latency p50": format_seconds(p50),
            "p99": format_seconds(p99),
            "max": format_seconds(float(journal.latency_s.max())),
            "late": f"{journal.late:,}",
            "real-time factor": f"{journal.real_time_factor:.3f}",
            label: ", ".join(f"{mean:.4g}" for mean in means[:4]) + (", ..." if len(means) > 4 else ""),
            "against full pass": "-" if outcome.difference is None else f"{outcome.difference:.1e}",
            "state": format_bytes(outcome.state_bytes),
        }
        for name in cells:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_row(*cells.values())
        console.print(table)
        console.print(
            f"{journal.duration_s:.6g} s of sound at {rate} Hz. late: chunks that took longer than they last; "
            "real-time factor: seconds of work for a second of sound.",
            highlight=False,
        )


def _check_target(save_state: str) -> None:
    """Raise UsageError where no file can be written there, or no folder made for it."""
    path = Path(save_state).expanduser()
    if path.is_dir():
        raise UsageError(f"save_state {save_state!r} is a folder; expected a file")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"save_state {save_state!r} cannot be written: {str(above)!r} is a file, not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(f"save_state {save_state!r} cannot be written: folder {str(above)!r} is write-protected")


def _check(outcome: StreamResult) -> None:
    """Raise RunFailure where chunks gave something else than one pass."""
    difference, outputs = outcome.difference, outcome.journal.first_outputs
    if difference is not None and not difference <= _TOLERANCE * max(1.0, float(np.max(np.abs(outputs)))):
        raise RunFailure(
            f"outputs by chunks are {difference:.1e} off those of one pass over the same sound; the state does not "
            "carry all that the network needs of the past"
        )


def _difference(session: Session, journal: Journal) -> float | None:
    if not len(journal.first_sound):
        return None
    full = session.full_pass(journal.first_sound)
    return float(np.max(np.abs(full - journal.first_outputs)))
