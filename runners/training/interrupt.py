"""Ctrl-C, taken where a run can stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class InterruptFlag:
    """True once Ctrl-C has been pressed; pressed again it interrupts at once. Inactive outside the main thread."""

    def __init__(self) -> None:
        self._raised = False
        self._previous: Any = None

    def __bool__(self) -> bool:
        return self._raised

    def __enter__(self) -> InterruptFlag:
        """Take over the signal."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._raised:
            raise KeyboardInterrupt
        self._raised = True
