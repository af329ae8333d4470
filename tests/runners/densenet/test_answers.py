"""Answers on the way to the exact output: when they settle, and when one may stop."""

from __future__ import annotations

import numpy as np
import pytest

from runners.densenet.answers import Answers, top_classes

# The classes' order by step; the exact one is that of the last.
ORDERS = [[5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [1, 0, 2, 3, 4, 5], [1, 0, 2, 3, 4, 5]]


def answers() -> Answers:
    """One image: after the guess two equal answers, then two with the first classes exchanged."""
    logits = np.zeros((len(ORDERS), 1, 6), np.float32)
    for row, order in zip(logits[:, 0], ORDERS, strict=True):
        row[order] = [5, 4, 3, 2, 1, 0]
    return Answers(np.arange(len(ORDERS))[:, None], logits, np.array([4]))


def test_the_five_largest_logits_count() -> None:
    assert top_classes(np.float32([[0, 9, -5, 3, 2, 1, 3]])).tolist() == [[1, 3, 6, 4, 5]]
    assert top_classes(np.float32([[1, 2]])).tolist() == [[1, 0]]


def test_answers_settle_as_sets_before_they_settle_in_order() -> None:
    found = answers()
    assert {name: int(steps[0]) for name, steps in found.settled().items()} == {
        "top5": 1,
        "top5_in_order": 3,
        "logits": 3,
    }
    agreed = found.agreement(found.logits[-1])
    assert agreed["top1"][:, 0].tolist() == [False, False, False, True, True]
    assert agreed["top5"][:, 0].tolist() == [False, True, True, True, True]


@pytest.mark.parametrize(("k", "stop", "wrong"), [(1, 2, 1.0), (2, 4, 0.0), (9, 4, 0.0)])
def test_stopping_early_waits_for_k_equal_answers(k: int, stop: int, wrong: float) -> None:
    found = answers()
    assert found.exits(k).tolist() == [stop]
    cost = found.early_exit(found.logits[-1], k)
    assert (cost["mean_steps"], cost["mean_steps_in_full"]) == (stop, 4)
    assert (cost["top1_differs"], cost["top5_differs"], cost["top5_in_order_differs"]) == (wrong, 0.0, wrong)


def test_an_image_that_is_done_is_left() -> None:
    found = answers()
    assert Answers(found.num_steps, found.logits, np.array([1])).exits(9).tolist() == [1]


def test_images_whose_iterations_cost_different_steps_have_one_axis() -> None:
    """The second image is done after two iterations of three steps each."""
    num_steps = np.array([[0, 0], [2, 3], [4, 6], [8, 6]])
    found = Answers(num_steps, np.repeat(answers().logits[:4], 2, axis=1), np.array([3, 2]))
    assert found.all_steps.tolist() == [0, 2, 3, 4, 6, 8]
    values = np.array([[0, 0], [1, 1], [2, 2], [3, 9]])
    assert found.by_steps(values).T.tolist() == [[0, 1, 1, 2, 2, 3], [0, 0, 1, 1, 2, 9]]
    assert found.early_exit(found.logits[-1], 9)["mean_steps_in_full"] == 7
    assert found.settled()["logits"].tolist() == [8, 6]
