"""A few of the fuzzers' cases; ``make fuzz`` runs thousands."""

from __future__ import annotations

import pytest

from tests.fuzz import configs, kills, runs


def test_random_configs_are_refused_in_a_line_or_taken() -> None:
    ends = [configs.case(0, number) for number in range(40)]
    assert [fault for _, fault in ends if fault] == []
    assert {kind for kind, _ in ends} == {"accepted", "refused"}


@pytest.mark.slow
def test_random_runs_end_as_they_say() -> None:
    ends = [runs.case(0, number) for number in range(40)]
    assert [fault for _, fault in ends if fault] == []
    assert {kind for kind, _ in ends} >= {"done", "refused"}


@pytest.mark.slow
def test_kills_lose_nothing() -> None:
    assert kills.run_all(2, 0) == 0
