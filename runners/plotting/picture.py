"""A picture as something that a run leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from matplotlib.figure import Figure

from common.files import write_atomically
from runners.plotting.style import png


@dataclass(frozen=True)
class Picture:
    """A file that is drawn when the results are written. Satisfies Artifact."""

    name: str  # of the file, with its suffix
    draw: Callable[[], Figure | bytes]  # gives a matplotlib figure, which is saved as a PNG, or the file's bytes

    essential: ClassVar[bool] = False

    def write(self, folder: Path) -> None:
        """Draw the picture and write it, whole or not at all."""
        drawn = self.draw()
        write_atomically(folder / self.name, png(drawn) if isinstance(drawn, Figure) else drawn)
