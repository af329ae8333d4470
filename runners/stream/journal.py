"""The journal of a stream: a few numbers for every chunk, and the outputs of its beginning."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from runners.experiment import RunFailure
from runners.stream.listener import Chunk

_SHOWN_S = 0.5  # between looks at the progress


@dataclass(frozen=True)
class Journal:
    """A stream that is over, by chunk."""

    sample_rate: int  # in Hz
    sizes: Float[np.ndarray, " N"]  # samples
    latency_s: Float[np.ndarray, " N"]
    low: Float[np.ndarray, " N"]  # the sound's least sample and its greatest
    high: Float[np.ndarray, " N"]
    values: Float[np.ndarray, "N V"]
    first_sound: Float[np.ndarray, " T"]  # the samples that are held against a full pass
    first_outputs: Float[np.ndarray, "T O"]

    @property
    def num_samples(self) -> int:
        """The number of samples in all chunks."""
        return int(self.sizes.sum())

    @property
    def duration_s(self) -> float:
        """The seconds that the sound lasts."""
        return self.num_samples / self.sample_rate


def keep_journal(steps: Iterable[Chunk], sample_rate: int, checked: int, console: Console) -> Journal:
    """Hear a stream to its end. Of all but the first ``checked`` samples, only numbers by chunk are kept.

    Raises RunFailure where a value is not finite.
    """
    rows, sounds, outputs, total, width = array("d"), [np.zeros(0, np.float32)], list[Any](), 0, 0
    columns = TextColumn("{task.fields[heard]:.1f} s heard"), TimeElapsedColumn()
    # Refreshed between chunks alone: a thread of its own would be heard in the latencies.
    bar = Progress(*columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal)
    with bar as progress:
        task, shown = progress.add_task("", heard=0.0), 0.0
        for step in steps:
            if not np.isfinite(step.values).all():
                raise RunFailure(
                    f"what comes out is not finite from {total / sample_rate:.6g} s on; check the weights and, where "
                    "one was restored, the state"
                )
            row = [len(step.sound), step.latency_s, step.sound.min(), step.sound.max(), *step.values]
            rows.extend(row)
            width = len(row)
            if total < checked:
                sounds.append(step.sound[: checked - total])
                outputs.append(np.asarray(step.outputs[: len(sounds[-1])]))
            total += len(step.sound)
            if time.perf_counter() - shown > _SHOWN_S:
                progress.update(task, heard=total / sample_rate, refresh=True)
                shown = time.perf_counter()
    sizes, latency_s, low, high, *values = np.frombuffer(rows).reshape(-1, width).T
    first_outputs = np.concatenate(outputs) if outputs else np.zeros((0, 1), np.float32)
    return Journal(
        sample_rate, sizes, latency_s, low, high, np.stack(values, axis=1), np.concatenate(sounds), first_outputs
    )
