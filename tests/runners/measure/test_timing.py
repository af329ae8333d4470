"""Times of many calls."""

from __future__ import annotations

import pytest

from runners.measure.timing import time_calls


class Clock:
    """Time that passes by what is done, and a little by looking at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1e-4
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_timing_many_calls_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("runners.measure.timing.time", clock)
    monkeypatch.setattr("runners.measure.timing.CALLS_S", 0.05)
    assert time_calls(lambda: clock.sleep(0.02), 50).n == 3
    assert time_calls(lambda: clock.sleep(0.2), 50).n == 1
    assert time_calls(lambda: None, 50).n == 50
