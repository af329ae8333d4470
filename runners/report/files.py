"""Files of a report that are neither pictures nor arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class TextFile:
    """A text, in bytes. Satisfies Artifact."""

    name: str
    content: bytes

    essential: ClassVar[bool] = True

    def write(self, folder: Path) -> None:
        """Write the file; bytes that are no UTF-8 become the sign for that."""
        (folder / self.name).write_text(self.content.decode("utf-8", "replace"), encoding="utf-8")
