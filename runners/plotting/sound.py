"""Sound as something that a run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from data.audio.clip import write_wave

_PAUSE_S = 0.25  # between the sounds of a batch in one file


@dataclass(frozen=True)
class WaveFile:
    """A wav file of one channel, full scale [-1, 1]. Satisfies Artifact."""

    name: str
    samples: Float[np.ndarray, " N"]
    sample_rate: int  # in Hz

    essential: ClassVar[bool] = True

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        write_wave(folder / self.name, self.samples, self.sample_rate)


def one_after_the_other(sounds: Float[np.ndarray, "B T"], sample_rate: int) -> Float[np.ndarray, " N"]:
    """The sounds of a batch as one, with pauses of a quarter of a second between them."""
    pause = round(_PAUSE_S * sample_rate)
    apart = np.pad(sounds, ((0, 0), (0, pause))).reshape(-1)
    return apart[: len(apart) - pause]
