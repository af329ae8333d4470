"""Pictures of convergence and of solving: decoded and looked at, not only written."""

from __future__ import annotations

import dataclasses
import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from runners.plotting.convergence import by_label, convergence_figure, draw_error, draw_residual
from runners.plotting.picture import Picture, grid_image, sample_grid
from runners.plotting.solving_gif import HOLD_MS, MAX_BYTES, GifRow, plan_clock, plan_layouts, solving_gif
from runners.plotting.style import SOLVER_STYLES, draw_legend, png
from runners.report.units import format_seconds
from solvers import SOLVERS


def row(label: str, seconds: float = 0.1) -> dict[str, Any]:
    run_s = {"median": seconds, "q1": seconds, "q3": seconds, "n": 3}
    return {"label": label, "solver": label.partition("(")[0], "num_steps": 7, "run_s": run_s}


def trace(count: int, error: float = 0.0) -> dict[str, np.ndarray]:
    steps = np.arange(1, count + 1)
    errors = np.append(10.0 ** -steps[:-1], error)
    return {
        "num_steps": steps,
        "time_s": steps * 1e-3,
        "residual": np.where(steps == 1, np.inf, errors),
        "frontier": steps,
        "error": errors,
        "error_mean": errors / 2,
    }


ROWS = [
    row("sequential", 2.0),
    row("jacobi"),
    row("gs_jacobi(block_size=4)"),
    row("gs_jacobi(block_size=8)"),
    row("elk"),
]
TRACES = {
    "sequential": trace(5) | {"residual": np.full(5, np.nan)},
    "jacobi": trace(9),
    "gs_jacobi(block_size=4)": trace(6, 1e-7),
    "gs_jacobi(block_size=8)": trace(1),
}


def test_numbers_and_labels_of_axes_are_formulas_and_a_users_words_are_not() -> None:
    figure = convergence_figure(TRACES, ROWS, "a $x$", "sequential", "num_steps")
    png(figure)
    axis = figure.axes[0].yaxis
    powers = [label for label in axis.get_ticklabels() if "$10^" in label.get_text()]
    assert powers
    assert all(label.get_parse_math() for label in (*powers, axis.label))
    assert not any(text.get_parse_math() for text in figure.texts)
    assert figure.get_suptitle() == "a $x$"


def test_a_long_title_has_lines_that_fit_its_figure() -> None:
    words = "a network of random weights, as those that are published have not been downloaded by anybody: " * 2
    figure = convergence_figure(TRACES, ROWS, words, "sequential", "num_steps")
    png(figure)
    figure.canvas.draw()  # at its own number of dots, which those of the file are not
    title = figure._suptitle
    assert title.get_window_extent().x1 <= figure.bbox.x1
    assert " ".join(title.get_text().split()) == words.strip()
    assert convergence_figure({}, [], "two  words", "sequential", "num_steps").get_suptitle() == "two  words"


def test_numbers_of_an_axis_do_not_lie_over_each_other() -> None:
    narrow = {"jacobi": trace(9) | {"num_steps": np.linspace(24, 980, 9)}}
    figure = convergence_figure(narrow, ROWS, "", "sequential", "num_steps")
    png(figure)
    shown = [label.get_window_extent() for label in figure.axes[0].get_xticklabels(which="both") if label.get_text()]
    places = sorted((box.x0, box.x1) for box in shown)
    assert len(places) > 3
    assert all(end < begin for (_, end), (begin, _) in pairwise(places))


@pytest.mark.parametrize("x", ["num_steps", "time_s"])
@pytest.mark.parametrize("traces", [TRACES, {}, {"jacobi": trace(1)}, {"sequential": TRACES["sequential"]}])
def test_convergence_is_a_picture(x: Any, traces: Any, tmp_path: Path) -> None:
    Picture("picture.png", lambda: convergence_figure(traces, ROWS, "A title", "sequential", x)).write(tmp_path / "new")
    with Image.open(tmp_path / "new" / "picture.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (1300, 624)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["picture.png"]


def test_lines_show_the_arrays_with_zeros_at_a_labelled_floor() -> None:
    axes = Figure().subplots()
    draw_error(axes, {"jacobi": trace(4)}, ROWS, "num_steps")
    line = axes.get_lines()[0]
    assert np.array_equal(line.get_xdata(), [1, 2, 3, 4])
    assert np.allclose(line.get_ydata(), [1e-1, 1e-2, 1e-3, 1e-4])
    assert axes.yaxis.get_major_formatter()(1e-4) == "0"
    assert axes.yaxis.get_major_formatter()(1e-3) == "$10^{-3}$"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert any(text.get_text() == "exactly 0" for text in axes.texts)


def test_what_is_not_known_is_not_drawn() -> None:
    axes = Figure().subplots()
    draw_residual(axes, TRACES, ROWS, "time_s")
    labels = [label.partition(":")[0] for label in axes.get_legend_handles_labels()[1]]
    assert labels == ["jacobi", "gs_jacobi(block_size=4)"]
    assert np.allclose(axes.get_lines()[0].get_xdata(), np.arange(2, 10) / 9 * 0.1)  # up to the median in the table


def test_without_zeros_there_is_no_floor() -> None:
    axes = Figure().subplots()
    draw_error(axes, {"jacobi": trace(4, 1e-6)}, ROWS, "time_s")
    assert np.asarray(axes.get_lines()[0].get_ydata())[-1] == 1e-6
    assert not any(text.get_text() == "exactly 0" for text in axes.texts)


def test_a_solver_looks_the_same_everywhere_and_rows_of_one_solver_differ() -> None:
    figure = Figure()
    axes = figure.subplots(1, 2)
    draw_error(axes[0], TRACES, ROWS, "num_steps")
    draw_error(axes[1], TRACES, list(reversed(ROWS)), "time_s")
    looks = []
    for panel in axes:
        lines = {line.get_label().partition(":")[0]: line for line in panel.get_lines()}
        looks.append({label: (lines[label].get_color(), lines[label].get_marker()) for label in TRACES})
        assert len({lines[label].get_linestyle() for label in lines if label.startswith("gs_jacobi")}) == 2
    assert looks[0] == looks[1]
    assert looks[0]["jacobi"] == SOLVER_STYLES["jacobi"]
    draw_legend(figure, list(axes))
    assert len(figure.legends[0].get_texts()) == len(TRACES)


def test_every_solver_has_a_look_of_its_own() -> None:
    assert set(SOLVERS) <= set(SOLVER_STYLES)
    for looks in zip(*SOLVER_STYLES.values(), strict=True):
        assert len(set(looks)) == len(SOLVER_STYLES)


def test_an_unknown_solver_and_a_row_without_a_time_are_drawn_too(tmp_path: Path) -> None:
    rows = [{"label": "mine", "solver": "mine", "num_steps": 3}]
    Picture("a.png", lambda: convergence_figure({"mine": trace(3)}, rows, "t", "mine", "time_s")).write(tmp_path)
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": None}, "jacobi has no 'error'"),
        ({"error": np.zeros(3)}, "equally long"),
        ({"error": np.zeros((9, 2))}, "one-dimensional"),
    ],
)
def test_a_trace_that_is_not_one_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    changed = {name: array for name, array in {**trace(9), **change}.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        Picture("a.png", lambda: convergence_figure({"jacobi": changed}, ROWS, "t", "sequential", "num_steps")).write(
            tmp_path
        )
    assert not list(tmp_path.iterdir())


def test_by_label_reads_what_npz_files_hold(tmp_path: Path) -> None:
    flat = {f"{label}/{name}": array for label, arrays in TRACES.items() for name, array in arrays.items()}
    np.savez(tmp_path / "traces.npz", **flat)  # type: ignore[arg-type]
    with np.load(tmp_path / "traces.npz") as file:
        grouped = by_label(file)
    assert {label: set(arrays) for label, arrays in grouped.items()} == {k: set(v) for k, v in TRACES.items()}
    assert np.array_equal(grouped["jacobi"]["error"], TRACES["jacobi"]["error"])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (2.345, "2.35 s"), (1234.5, "1234 s"), (0.9999, "1 s"), (0.0601, "60.1 ms"), (5.5e-6, "5.5 µs")],
)
def test_seconds_have_three_digits_and_a_unit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize("shape", [(16, 6, 5, 1), (3, 4, 4, 3), (1, 8, 8, 1), (5, 1, 30, 1)])
def test_grid_holds_the_images_pixels(shape: tuple[int, ...]) -> None:
    images = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    with Image.open(io.BytesIO(sample_grid(images, scale=3))) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    count, height, width, _ = shape
    columns = (pixels.shape[1] - 2) // (3 * width + 2)
    assert pixels.shape[0] == -(-count // columns) * (3 * height + 2) + 2
    for i in range(count):
        top, left = 2 + i // columns * (3 * height + 2), 2 + i % columns * (3 * width + 2)
        for shift in range(3):
            part = pixels[top + shift : top + 3 * height : 3, left + shift : left + 3 * width : 3]
            assert np.array_equal(part, np.broadcast_to(images[i], (height, width, 3)))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 2), np.uint8),
        np.zeros((2, 4, 4, 1), np.float32),
        np.zeros((0, 4, 4, 1), np.uint8),
    ],
)
def test_grid_refuses_what_are_no_images(images: Any) -> None:
    with pytest.raises(ValueError, match="images must be non-empty uint8"):
        sample_grid(images)


def gif_row(label: str, seconds: float, count: int = 5, channels: int = 1, samples: int = 4) -> GifRow:
    """Noise that fills in from the top; the last frames of all rows are the same."""
    final = np.random.RandomState(0).randint(0, 256, (samples, 8, 8, channels)).astype(np.uint8)
    frames = np.full((count, *final.shape), 127, np.uint8)
    for i in range(count):
        known = 8 if i == count - 1 else 8 * i // count
        frames[i, :, :known] = final[:, :known]
    return GifRow(label, frames, np.linspace(0, seconds, count), np.arange(count) * 3)


def test_a_solve_that_did_not_converge_is_not_ticked_off_in_the_animation() -> None:
    row = gif_row("jacobi", 1.0)
    done = (0, 120, 80)
    for converged in (True, False):
        frames = solving_gif([dataclasses.replace(row, converged=converged)], "an animation")
        with Image.open(io.BytesIO(frames)) as gif:
            gif.seek(gif.n_frames - 1)
            pixels = np.asarray(gif.convert("RGB")).reshape(-1, 3).astype(int)
        assert (np.abs(pixels - done).max(axis=1) < 30).any() == converged


def decode(path: Path) -> tuple[list[np.ndarray], list[int], dict[str, Any]]:
    """The frames in RGB, their durations in milliseconds, and what the file says about itself."""
    with Image.open(io.BytesIO(path.read_bytes())) as gif:
        frames = [(np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]
        return [frame for frame, _ in frames], [duration for _, duration in frames], dict(gif.info)


def panels(frame: np.ndarray, rows: list[GifRow]) -> list[np.ndarray]:
    layout = next(plan_layouts(rows))
    corners = [layout.corner(i) for i in range(len(rows))]
    width, height = layout.grid
    return [frame[top : top + height, left : left + width].astype(int) for left, top in corners]


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_loops_for_its_time_and_ends_with_every_rows_last_frame(channels: int, tmp_path: Path) -> None:
    rows = [gif_row(name, seconds, channels=channels) for name, seconds in (("a", 2.0), ("b", 0.06), ("c", 0.01))]
    (tmp_path / "solving.gif").write_bytes(solving_gif(rows, "Three solvers"))
    frames, durations, info = decode(tmp_path / "solving.gif")
    assert info["loop"] == 0
    assert 7_000 <= sum(durations) <= 14_000
    assert sum(durations) == sum(tick.duration_ms for tick in plan_clock(rows))
    assert durations[-1] >= HOLD_MS
    assert 20 < len(frames) <= len(plan_clock(rows))
    assert (tmp_path / "solving.gif").stat().st_size < MAX_BYTES
    scale = next(plan_layouts(rows)).scale
    for shown, solver in zip(panels(frames[-1], rows), rows, strict=True):
        assert np.abs(shown - grid_image(solver.frames[-1], scale)).max() <= (3 if channels == 1 else 40)
    first = panels(frames[0], rows)[0]
    assert np.abs(first - grid_image(rows[0].frames[0], scale)).max() <= 3


def test_gif_finishes_rows_in_the_order_of_their_times(tmp_path: Path) -> None:
    rows = [gif_row("slow", 1.0), gif_row("slower", 10.0), gif_row("quick", 0.1)]
    (tmp_path / "solving.gif").write_bytes(solving_gif(rows, "t"))
    frames, durations, _ = decode(tmp_path / "solving.gif")
    seen = [panels(frame, rows) for frame in frames]
    starts = np.cumsum([0, *durations[:-1]])
    done = [starts[next(i for i, f in enumerate(seen) if np.array_equal(f[p], seen[-1][p]))] for p in range(3)]
    assert done[2] < done[0] < done[1] == starts[-1]


def test_clock_runs_forward_in_slow_motion_until_the_quick_rows_are_done_and_then_faster() -> None:
    rows = [gif_row(str(seconds), seconds) for seconds in (2.35, 0.0103, 0.0601, 0.0712, 0.131, 0.113)]
    ticks = plan_clock(rows)
    clocks = [tick.clock for tick in ticks]
    assert clocks == sorted(set(clocks))
    assert (clocks[0], clocks[-1]) == (0.0, 2.35)
    phases = [[tick for tick in ticks if tick.phase == phase] for phase in (0, 1)]
    assert phases[1][0].clock == 0.131
    assert {tick.announcement for tick in phases[0]} == {"slow motion: 1/40 speed"}
    assert {tick.announcement for tick in phases[1]} == {"real time: 1 x"}
    assert 8_000 <= sum(tick.duration_ms for tick in ticks) <= 12_500
    for phase in phases:
        played_s = sum(tick.duration_ms for tick in phase if tick is not ticks[-1]) / 1e3
        covered_s = (0.131, 2.35 - 0.131)[phase[0].phase]
        assert played_s == pytest.approx(covered_s / phase[0].speed, abs=0.07)


@pytest.mark.parametrize(
    "seconds", [[0.5], [0.5, 0.5, 0.5], [0.0], [1e-7, 1e-3], [3.0, 4.0], [4000.0, 1.0], [0.0, 1.0]]
)
def test_clock_takes_any_times(seconds: list[float]) -> None:
    ticks = plan_clock([gif_row(str(i), value) for i, value in enumerate(seconds)])
    assert ticks[-1].clock == max(*seconds, 1e-9)
    assert 6_000 <= sum(tick.duration_ms for tick in ticks) <= 14_500
    assert (ticks[-1].phase == 1) == (max(seconds) > 4 * min(seconds) and len(seconds) > 1)
    for tick in ticks:
        number = re.fullmatch(r"slow motion: 1/(\d+) speed|real time: (1) x|fast-forward: (\d+) x", tick.announcement)
        assert number is not None


@pytest.mark.parametrize(
    "rows",
    [
        [gif_row("only", 0.5)],
        [gif_row("a", 0.5), gif_row("b", 0.5)],
        [gif_row("single", 0.1, count=1), gif_row("two", 0.2, count=2)],
        [gif_row("single", 0.0, count=1)],
        [gif_row("a label that is much too long for the width of its panel " * 2, 0.5)],
    ],
)
def test_gif_of_few_rows_or_frames_ends_with_the_last_frames(rows: list[GifRow], tmp_path: Path) -> None:
    (tmp_path / "solving.gif").write_bytes(solving_gif(rows, "A title that is longer than the picture is wide, " * 3))
    frames, _, _ = decode(tmp_path / "solving.gif")
    scale = next(plan_layouts(rows)).scale
    for shown, solver in zip(panels(frames[-1], rows), rows, strict=True):
        assert np.abs(shown - grid_image(solver.frames[-1], scale)).max() <= 3


def test_gif_too_large_shows_fewer_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [gif_row("a", 0.5, count=20, samples=16), gif_row("b", 0.4, count=20, samples=16)]
    (tmp_path / "whole.gif").write_bytes(solving_gif(rows, "t"))
    whole = (tmp_path / "whole.gif").stat().st_size
    monkeypatch.setattr("runners.plotting.solving_gif.MAX_BYTES", whole)
    (tmp_path / "smaller.gif").write_bytes(solving_gif(rows, "t"))
    assert (tmp_path / "smaller.gif").stat().st_size < whole
    assert [layout.images for layout in plan_layouts(rows)] == [16, 9, 4, 1]


def test_gif_refuses_what_does_not_go_together() -> None:
    good = gif_row("good", 1.0)
    with pytest.raises(ValueError, match="images must be non-empty uint8 of shape \\(F, N, H, W, 1 or 3\\)"):
        GifRow("bad", good.frames[0], good.time_s, good.num_steps)
    with pytest.raises(ValueError, match="bad: 5 frames need as many times and steps"):
        GifRow("bad", good.frames, good.time_s[:-1], good.num_steps)
    with pytest.raises(ValueError, match="bad: 5 frames need as many times and steps"):
        GifRow("bad", good.frames, good.time_s, good.num_steps[:-1])
    for times in ([0, 1, np.nan, 2, 3], [0, 2, 1, 3, 4], [-1, 0, 1, 2, 3]):
        with pytest.raises(ValueError, match="finite, not negative and ascending"):
            GifRow("bad", good.frames, np.array(times, float), good.num_steps)
    for rows in ([], [good, gif_row("other", 1.0, samples=3)], [good, gif_row("other", 1.0, channels=3)]):
        with pytest.raises(ValueError, match="rows must show the same images"):
            solving_gif(rows, "t")
    with pytest.raises(ValueError, match="at least one row"):
        plan_clock([])
