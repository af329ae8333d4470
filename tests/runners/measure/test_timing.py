"""Times of many calls."""

from __future__ import annotations

import time

import pytest

from runners.measure.timing import time_calls


def test_timing_many_calls_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.measure.timing.CALLS_S", 0.05)
    assert time_calls(lambda: time.sleep(0.02), 50).n == 3
    assert time_calls(lambda: time.sleep(0.2), 50).n == 1
    assert time_calls(lambda: None, 50).n == 50
