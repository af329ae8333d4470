"""An animated picture of solvers at work: all fill in the same batch, side by side, on one common clock.

The solvers' measured times differ a hundredfold, so the clock runs at two announced speeds: in slow motion until the
quick ones are done, then faster until all are.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from runners.plotting.picture import check_images, grid_image
from runners.report.units import format_seconds

FRAME_MS, HOLD_MS = 60, 2500  # how long each picture stays, and the last one
SLOW_S, FAST_S = 5.0, 2.5  # what the two speeds aim at; round factors move them a little
MAX_BYTES = 1_500_000
_FAR_APART = 4  # the ratio of times that is worth a second speed
_PANEL, _MIN_PANEL, _MARGIN, _HEADER, _CAPTION, _GAP = 270, 150, 14, 78, 44, 2  # pixels
_MIN_WIDTH, _MAX_WIDTH = 420, 920
_WHITE, _INK, _FAINT, _DONE = (255, 255, 255), (34, 34, 34), (110, 110, 110), (0, 120, 80)
_PHASES = ((0, 114, 178), (200, 80, 0))  # the colours in which the two speeds are announced


@dataclass(frozen=True)
class GifRow:
    """What one solver did: the first N samples of the batch at each of F moments, the first the initial guess.

    Raises ValueError where the shapes do not go together or the times are not finite and ascending from 0 or later.
    """

    label: str
    frames: UInt8[np.ndarray, "F N H W C"]
    time_s: Float[np.ndarray, " F"]  # measured seconds
    num_steps: Int[np.ndarray, " F"]  # sequential network evaluations so far
    converged: bool = True  # else the last frame is where it was stopped

    def __post_init__(self) -> None:
        check_images(self.frames, dimensions=5)
        if self.time_s.shape != self.frames.shape[:1] or self.num_steps.shape != self.time_s.shape:
            shapes = f"{self.time_s.shape} and {self.num_steps.shape}"
            raise ValueError(f"{self.label}: {len(self.frames)} frames need as many times and steps, not {shapes}")
        if not np.isfinite(self.time_s).all() or self.time_s[0] < 0 or (np.diff(self.time_s) < 0).any():
            raise ValueError(f"{self.label}: times must be finite, not negative and ascending")

    @property
    def seconds(self) -> float:
        """When the solver is done, or was stopped."""
        return float(self.time_s[-1])

    def at(self, clock: float) -> int:
        """The index of the last frame that was there at that time; before the first one, the first."""
        return max(0, int(np.searchsorted(self.time_s, clock, side="right")) - 1)


@dataclass(frozen=True)
class Tick:
    """One picture of the animation."""

    clock: float  # seconds since the solvers began
    speed: float  # seconds on the clock in a second of the animation
    phase: int  # 0 at the first speed, 1 at the second
    duration_ms: int

    @property
    def announcement(self) -> str:
        """The speed in words."""
        if self.speed < 1:
            return f"slow motion: 1/{round(1 / self.speed)} speed"
        return "real time: 1 x" if self.speed == 1 else f"fast-forward: {self.speed:g} x"

    @property
    def clock_text(self) -> str:
        """The clock with as many decimals as move from one picture to the next."""
        size, unit = (1.0, "s") if self.clock >= 1 else (1e-3, "ms")
        decimals = max(0, math.ceil(-math.log10(self.speed * FRAME_MS / 1e3 / size)))
        return f"{self.clock / size:.{decimals}f} {unit}"


@dataclass(frozen=True)
class Layout:
    """Where the panels are: each a caption and below it a grid of the first ``images`` samples, ``scale`` enlarged."""

    panels: int
    images: int
    scale: int
    grid: tuple[int, int]  # width and height of a panel's grid in pixels

    @property
    def panel_width(self) -> int:
        """Pixels for a panel: those of its grid, or as many as make its caption readable."""
        return max(_MIN_PANEL, self.grid[0])

    @property
    def columns(self) -> int:
        """Panels side by side: as many as fit, the rows equally full."""
        fitting = max(1, (_MAX_WIDTH - _MARGIN) // (self.panel_width + _MARGIN))
        return math.ceil(self.panels / math.ceil(self.panels / fitting))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the animation in pixels."""
        width = self.columns * (self.panel_width + _MARGIN) + _MARGIN
        height = math.ceil(self.panels / self.columns) * (self.grid[1] + _CAPTION + _MARGIN)
        return max(_MIN_WIDTH, width), _HEADER + height

    def corner(self, panel: int) -> tuple[int, int]:
        """Left and top of a panel's grid in pixels."""
        line, column = divmod(panel, self.columns)
        left = _MARGIN + column * (self.panel_width + _MARGIN)
        return left, _HEADER + line * (self.grid[1] + _CAPTION + _MARGIN) + _CAPTION


def solving_gif(rows: Sequence[GifRow], title: str) -> bytes:
    """An endlessly looping GIF file of the solvers at work, below 1.5 MB where showing fewer samples achieves that.

    Each panel shows the frame that was measured last at the time on the clock, the steps so far and how many of the
    pixels are as they end, and when it is done a tick and its time. Raises ValueError where there are no rows or their
    images differ in number or size.
    """
    if len({row.frames.shape[1:] for row in rows}) != 1:
        raise ValueError(f"rows must show the same images, not {[row.frames.shape[1:] for row in rows]}")
    ticks, palette, content = plan_clock(rows), _Palette(rows), b""
    for layout in plan_layouts(rows):
        first, *others = (palette.indexed(_picture(rows, tick, layout, title)) for tick in ticks)
        durations, buffer = [tick.duration_ms for tick in ticks], io.BytesIO()
        # Pictures that are alike become one that stays longer; optimize: of each only the pixels that changed are kept.
        first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)
        content = buffer.getvalue()
        if len(content) < MAX_BYTES:
            break
    return content


def plan_clock(rows: Sequence[GifRow]) -> list[Tick]:
    """The pictures to show: from 0 to the end of the slowest row at one speed or two, all of them round factors.

    The speed changes at the widest gap between the times of the slower half of the rows, where the slowest takes at
    least four times as long; so the quicker half is always seen at the first speed.
    """
    if not rows:
        raise ValueError("an animation needs at least one row")
    ends = sorted(max(row.seconds, 1e-9) for row in rows)
    slower_half = range((len(ends) - 1) // 2, len(ends) - 1)
    split = ends[max(slower_half, key=lambda i: ends[i + 1] / ends[i], default=-1)]
    split = split if _FAR_APART * split <= ends[-1] else ends[-1]
    phases = [(0.0, split, SLOW_S), (split, ends[-1], FAST_S)]
    if split == ends[-1]:
        phases = [(0.0, split, SLOW_S + FAST_S)]
    ticks: list[Tick] = []
    for phase, (start, stop, shown_s) in enumerate(phases):
        speed = _round_factor((stop - start) / shown_s)
        clocks = np.arange(start, stop, speed * FRAME_MS / 1e3)
        ticks += [Tick(float(clock), speed, phase, FRAME_MS) for clock in clocks]
    return [*ticks, Tick(ends[-1], ticks[-1].speed, ticks[-1].phase, HOLD_MS)]


def plan_layouts(rows: Sequence[GifRow]) -> Iterator[Layout]:
    """Layouts to try, the preferred one first: the whole batch, then fewer and fewer of its samples."""
    batch = rows[0].frames[0]
    scale = max(1, _PANEL // grid_image(batch, gap=_GAP).shape[1])
    for images in [len(batch), *(fewer for fewer in (9, 4, 1) if fewer < len(batch))]:
        height, width, _ = grid_image(batch[:images], scale, _GAP).shape
        yield Layout(len(rows), images, scale, (width, height))


def _round_factor(factor: float) -> float:
    """The nearest number that is easily said: 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30 ... or one over such a number."""
    if factor < 1:
        return 1 / _round_factor(1 / factor)
    numbers = [size * 10.0**power for power in range(12) for size in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]
    return min((number for number in numbers if number.is_integer()), key=lambda number: abs(math.log(number / factor)))


def _picture(rows: Sequence[GifRow], tick: Tick, layout: Layout, title: str) -> Image.Image:
    """What is to be seen at one time, in RGB."""
    picture = Image.new("RGB", layout.size, _WHITE)
    draw, right = ImageDraw.Draw(picture), layout.size[0] - _MARGIN
    draw.text((_MARGIN, 10), title, _INK, _fitting(title, 18, right - _MARGIN, bold=True))
    draw.text((_MARGIN, 40), tick.clock_text, _INK, _font(22, bold=True))
    draw.rounded_rectangle((right - 190, 40, right, 66), 6, _PHASES[tick.phase])
    draw.text((right - 95, 53), tick.announcement, _WHITE, _fitting(tick.announcement, 14, 178, bold=True), anchor="mm")
    for panel, row in enumerate(rows):
        _draw_panel(picture, row, tick.clock, layout, layout.corner(panel))
    return picture


def _draw_panel(picture: Image.Image, row: GifRow, clock: float, layout: Layout, corner: tuple[int, int]) -> None:
    """One solver's caption and its samples at one time."""
    index, draw, (left, top), width = row.at(clock), ImageDraw.Draw(picture), corner, layout.panel_width
    picture.paste(Image.fromarray(grid_image(row.frames[index, : layout.images], layout.scale, _GAP)), corner)
    draw.text((left, top - 41), row.label, _INK, _fitting(row.label, 15, width, bold=True))
    final = math.floor(100 * (row.frames[index] == row.frames[-1]).mean())
    done, colour = False, _FAINT
    status = f"step {row.num_steps[index]}" + (f", {final}% of pixels final" if row.converged else "")
    if clock >= row.seconds:
        took = f"{row.num_steps[-1]} steps in {format_seconds(row.seconds)}"
        done, colour, status = (True, _DONE, f"✓ {took}") if row.converged else (True, _INK, f"stopped: {took}")
    draw.text((left, top - 20), status, colour, _fitting(status, 13, width, bold=done))


def _fitting(text: str, size: int, width: int, *, bold: bool) -> ImageFont.FreeTypeFont:
    """The font at this size, or as much smaller as the text needs to fit the width."""
    while size > 6 and _font(size, bold=bold).getlength(text) > width:
        size -= 1
    return _font(size, bold=bold)


@lru_cache
def _font(size: int, *, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


class _Palette:
    """At most 255 colours for the whole animation, one short of what a GIF can have: unchanged pixels need the last."""

    def __init__(self, rows: Sequence[GifRow]) -> None:
        from scipy.spatial import KDTree  # takes a while to import

        ends = ((_WHITE, _INK), (_WHITE, _DONE), *((_WHITE, colour) for colour in _PHASES))
        text = np.concatenate([np.linspace(start, end, 8).astype(np.uint8) for start, end in ends])
        seen = [row.frames[index] for row in rows for index in (0, len(row.frames) // 2, -1)]
        samples = Image.fromarray(grid_image(np.concatenate(seen), gap=0)).quantize(255 - len(text)).convert("RGB")
        drawn = np.asarray(samples).reshape(-1, 3)
        self.colours: UInt8[np.ndarray, "colours 3"] = np.unique(np.concatenate([text, drawn]), axis=0)
        self._tree = KDTree(self.colours)
        self._nearest = np.full(2**24, 255, np.uint8)  # by red, green and blue; 255: not looked up so far

    def indexed(self, picture: Image.Image) -> Image.Image:
        """The picture in the palette's nearest colours; Pillow's own conversion rounds to 6 bits a channel."""
        codes = np.asarray(picture).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        new = np.unique(codes[self._nearest[codes] == 255])
        self._nearest[new] = self._tree.query(np.stack([new >> 16, (new >> 8) & 255, new & 255], axis=1))[1]
        image = Image.fromarray(self._nearest[codes])
        image.putpalette(self.colours.ravel().tolist())
        return image
