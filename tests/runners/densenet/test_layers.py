"""The published model of a parallel time."""

from __future__ import annotations

import numpy as np

from runners.config.solvers import parse_entry
from runners.densenet.layers import CriticalPath
from runners.measure.timing import Times


def test_the_model_counts_the_slowest_layer_for_a_parallel_step_and_all_for_a_pass() -> None:
    path = CriticalPath([Times.of([seconds]) for seconds in (1.0, 5.0, 2.0)])
    steps = np.arange(4)
    assert path.modelled_s(parse_entry("jacobi"), steps).tolist() == [0, 5, 10, 15]
    in_order = parse_entry({"name": "segmented", "solver": "cached_sequential"})
    assert path.modelled_s(in_order, steps).tolist() == [0, 1, 6, 8]
    assert path.modelled_s(parse_entry("sequential"), steps).tolist() == [0, 1, 6, 8]
