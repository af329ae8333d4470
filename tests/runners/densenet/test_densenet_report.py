"""What follows from measurements of a DenseNet, without a network: sentences, tables, pictures and failures."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from data.images.dataset import LabelledImages
from models.weights.checkpoint import Checkpoint
from runners.config.solvers import parse_entries
from runners.densenet.answers import Answers, Followed
from runners.densenet.config import LoadedClassifier
from runners.densenet.figures import by_time_figure
from runners.densenet.findings import Findings, Measured, find
from runners.densenet.layers import CriticalPath
from runners.densenet.report import densenet_report
from runners.measure.comparison import Comparison
from runners.measure.job import Row
from runners.measure.timing import Times
from runners.report.report import Report
from solvers import Status
from tests.kit.results import assert_readable

LAYERS, IMAGES, STEPS = 98, 2, 4
SOLVERS = [
    "sequential",
    {"name": "segmented", "solver": "cached_sequential"},
    {"name": "segmented", "solver": "jacobi"},
]
LABELS = ["sequential", "segmented(solver=cached_sequential)", "segmented(solver=jacobi)"]
TIMES = Times.of([0.0123456])


def row(label: str, entry: Any, **changes: Any) -> Row:
    steps = np.arange(1, STEPS + 1)
    measured = Row(
        label=label,
        entry=entry,
        status=Status.CONVERGED,
        num_steps=STEPS,
        num_iterations=STEPS,
        sweep_equivalents=1.0,
        guess_resets=0,
        steps_to_convergence=[STEPS] * IMAGES,
        compile_s=1.0,
        run_s=TIMES,
        max_residual=0.0,
        mismatched_equations=0,
        max_abs_error=1.2e-7,
        peak_memory_bytes=2**30,
        trace={"num_steps": steps, "time_s": steps / 1000},
        frames=None,
    )
    return dataclasses.replace(measured, **changes)


def followed(error: float = 0.0, outcome: Status = Status.CONVERGED) -> Followed:
    """Logits that are exact after two steps but for ``error``."""
    logits = np.tile(np.arange(7, dtype=np.float32), (STEPS + 1, IMAGES, 1))
    logits[:2] = logits[:2, :, ::-1]
    num_steps = np.tile(np.arange(STEPS + 1)[:, None], (1, IMAGES))
    difference = np.ones((STEPS + 1, IMAGES))
    return Followed(Answers(num_steps, logits + np.float32(error), np.full(IMAGES, STEPS)), difference, outcome)


def findings(trained: bool = True, changes: dict[str, Any] | None = None, **way: Any) -> Findings:
    rows = [row(label, entry) for label, entry in zip(LABELS, parse_entries(SOLVERS), strict=True)]
    rows[-1] = dataclasses.replace(rows[-1], **(changes or {}))
    comparison = Comparison(
        num_equations=LAYERS,
        batch_size=1,
        sweep_s=TIMES,
        sweep_flops=None,
        rows=rows,
        skipped=[],
        reference=None,
        reference_label=LABELS[0],
    )
    measured = Measured(
        comparison=comparison,
        exact=np.tile(np.arange(7, dtype=np.float32), (IMAGES, 1)),
        followed={label: followed(**way) for label in LABELS[1:]},
        path=CriticalPath([TIMES] * LAYERS),
        sequential_s=TIMES,
        readout_s=TIMES,
    )
    checkpoint = Checkpoint("densenet", None, {}, trained=trained)
    classifier = LoadedClassifier(checkpoint, "weights of some", "weights of some; as they are")
    pictures = LabelledImages(np.zeros((IMAGES, 1, 1, 1), np.uint8), np.array([6, 0], np.int32), "pictures")
    return find(measured, classifier, pictures, [1, 3])


def report(found: Findings) -> Report:
    return densenet_report("some", {"model": {"name": "densenet"}}, found)


@pytest.mark.parametrize(
    ("trained", "words"), [(True, "Published:"), (False, "Published (trained weights; the weights here are random):")]
)
def test_sentences_say_what_came_out_and_hold_it_against_what_was_published(trained: bool, words: str) -> None:
    said = findings(trained).sentences
    assert any("the five largest logits settle after 2 steps at the median" in sentence for sentence in said)
    assert any(
        sentence.startswith(f"{words} the five smallest logits settle after about 33 of 98") for sentence in said
    )
    assert said[-1] == "Accuracy of the exact output: 50.0% of 2 pictures."


def test_a_report_titles_itself_and_its_tables_fit_a_terminal_of_80_columns() -> None:
    made = report(findings())
    assert made.title == "some: densenet, 98 dense layers, weights of some, 2 images"
    assert made.record["weights"] == "weights of some; as they are"
    assert made.failure is None
    for table in made.tables:
        assert_readable(table)
    assert "blocks in order" in made.tables[1].note


def test_pictures_are_drawn_from_records_and_arrays() -> None:
    found = findings()
    curves = {label: solver.curves for label, solver in found.solvers.items()}
    assert len(by_time_figure(curves, report(found).record, "drawn again").axes) == 4


@pytest.mark.parametrize(
    ("changes", "way", "sentence"),
    [
        ({"status": Status.TIME_LIMIT_REACHED}, {}, r"^segmented\(solver=jacobi\): "),
        ({}, {"outcome": Status.MAX_STEPS_REACHED}, r"^segmented\(solver=cached_sequential\), on all images: "),
        ({}, {"error": 0.1}, "the solver converged, but its logits are 1.0e-01 off the sequential pass's"),
        ({}, {"error": np.nan}, "the solver converged, but its logits are nan off the sequential pass's"),
    ],
)
def test_a_solver_that_does_not_give_the_answer_is_a_failure(
    changes: dict[str, Any], way: dict[str, Any], sentence: str
) -> None:
    failure = report(findings(changes=changes, **way)).failure
    assert failure is not None
    assert re.search(sentence, failure)
