"""Steps and times as pictures have them are those of the tables."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from runners.densenet.figures import draw_error as draw_logit_error
from runners.plotting.convergence import draw_error
from runners.plotting.scales import drawn_steps, drawn_times, said_steps
from runners.rnn.backprop.figures import draw_gradient_error, draw_loss

RUN_S = {"median": 0.5, "q1": 0.4, "q3": 0.6, "n": 3}
SCAN = {"label": "scan", "solver": "parallel_scan", "num_steps": 1, "chain_length": 29, "run_s": RUN_S}
PLAIN = {"label": "plain", "solver": "jacobi", "num_steps": 12, "run_s": RUN_S}


def test_a_scan_is_drawn_as_long_as_its_chain() -> None:
    assert drawn_steps(SCAN, np.array([1, 2])).tolist() == [29, 58]
    assert drawn_steps(PLAIN, np.array([1, 2])).tolist() == [1, 2]
    assert (said_steps(SCAN), said_steps(PLAIN)) == ("1 step, a chain of 29", "12 steps")


def test_times_end_at_the_median() -> None:
    assert drawn_times(PLAIN, np.array([0.0, 1.0, 2.0, np.nan])).tolist()[:3] == [0.0, 0.25, 0.5]
    assert drawn_times({"label": "untimed"}, np.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert drawn_times(PLAIN, np.zeros(2)).tolist() == [0.0, 0.0]


def test_pictures_have_both() -> None:
    axes = Figure().subplots()
    one = np.ones(1)
    trace = {"num_steps": one, "time_s": 3 * one, "error": one, "error_mean": one}
    draw_error(axes, {"scan": trace}, [SCAN], "num_steps")
    draw_error(axes, {"scan": trace}, [SCAN], "time_s")
    draw_gradient_error(axes, {"scan": {"num_steps": one, "error": np.ones((1, 2))}}, [SCAN], 100)
    steps = {"smoothed": np.ones((2, 3)), "seconds": np.ones((2, 3)), "num_steps": np.ones((2, 3))}
    draw_loss(axes, {"scan": steps}, [SCAN], "num_steps")
    ends = [line.get_xdata()[-1] for line in axes.get_lines() if line.get_label().startswith("scan")]
    assert ends == [29, 0.5, 29, 3 * 29]


def test_both_times_of_a_densenet_are_held_against_the_measured_pass() -> None:
    record = {
        "rows": [PLAIN | {"options": {}}],
        "system": {"num_equations": 4, "sequential_pass_s": {"median": 0.25}},
        "critical_path": {"sequential_s": 7.0},
    }
    curve = {"time_s": np.array([0.0, 1.0]), "modelled_s": np.array([0.0, 0.1]), "error": np.ones((2, 3))}
    for x, end in (("time_s", 0.5), ("modelled_s", 0.1)):
        axes = Figure().subplots()
        draw_logit_error(axes, {"plain": curve}, record, x)
        line, mark = axes.get_lines()[1], axes.get_lines()[0]
        assert line.get_xdata()[-1] == end
        assert mark.get_xdata()[0] == 0.25
        assert "measured sequential pass" in axes.texts[0].get_text()
