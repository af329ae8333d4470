"""The README's table and gallery, and the page of every system with every solver: all taken from results."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.paths import REFERENCE
from docs.tools.results import Row, is_cached, is_parallel, markdown, median, results
from runners.report.units import format_seconds

WIDTH = 80  # of the README's table, for terminals


@dataclass(frozen=True)
class Measured:
    """The solvers of one system, as they were run in the results of one config."""

    config: str
    title: str
    num_equations: int
    rows: tuple[Row, ...]
    sweep_s: float

    @property
    def converged(self) -> list[Row]:
        """Those that found the solution."""
        return [row for row in self.rows if row["status"] == "converged"]

    @property
    def naive_s(self) -> float:
        """The time of forward substitution by whole sweeps: measured, or else a sweep for every equation."""
        run = self._naive
        return self.num_equations * self.sweep_s if run is None else median(run)

    @property
    def reckoned(self) -> bool:
        """Whether that time is no measured one."""
        return self._naive is None

    @property
    def _naive(self) -> Row | None:
        return next((row for row in self.converged if row["label"] == "sequential"), None)

    @property
    def cached_s(self) -> float | None:
        """The time of forward substitution with caches, where it was run."""
        return next((median(row) for row in self.converged if is_cached(row)), None)

    def parallel(self, label: str | None) -> Row:
        """The row that is called so, or that of the parallel solver with the fewest steps."""
        if label is not None:
            return next(row for row in self.converged if row["label"] == label)
        return min(filter(is_parallel, self.converged), key=lambda row: row["num_steps"])


# The systems of the README's table: the config, which of its systems, the solver where it is not that with the fewest
# steps (a scan's one step is a chain of many), and what was published of it.
HEADLINE = (
    ("made_sampler", 0, None, "MADE", "27x naive"),
    ("gs_jacobi_pixelcnnpp_sampler", 0, None, "PixelCNN++", "6.3x naive"),
    ("wavenet_sampler", 0, None, "WaveNet", "-"),
    ("language_consistency_sampler", 0, None, "language", "2.4x cached"),
    ("flow_sampler", 0, None, "flow", "2.5x cached"),
    ("diffusion_sampler", 0, None, "DDIM", "7 steps"),
    ("mcmc_hmc", 0, None, "HMC", "10x chain"),
    ("ode_pendulum", 0, "newton", "pendulum", "-"),
    ("forward_rnn", 2, None, "GRU", "68x scan"),
    ("backprop", 0, "jacobi(tol=1e-06)", "RNN backward", "12 steps"),
    ("densenet201", 0, None, "DenseNet-201", "2.1x"),
)
# The pictures of the gallery, in rows of three, by what they show.
GALLERY = (
    ("digits by MADE, all solvers on one clock", "made_sampler/solving.gif"),
    ("digits by PixelCNN++", "gs_jacobi_pixelcnnpp_sampler/samples.png"),
    ("digits by diffusion, all steps at once", "diffusion_sampler/solving.gif"),
    ("speech by WaveNet", "wavenet_sampler/audio.png"),
    ("digits by a flow, block by block", "flow_sampler/solving.gif"),
    ("a Markov chain, all samples at once", "mcmc_hmc/forming.png"),
)
TEXT = "language_sampler"  # whose first text is shown
_LETTERS = 3 * WIDTH  # of it


def systems(config: str) -> Iterator[Measured]:
    """The systems of a config's results, in order."""
    found = results(config)
    if "rows" in found:
        rows = [row for row in found["rows"] if row.get("phase", "start") == "start"]
        yield _measured(config, found["system"], rows, config)
    for several in ("experiments", "systems"):
        for each in found.get(several, []):
            yield _measured(config, each, each["rows"], _title(each))


def _title(system: Mapping[str, Any]) -> str:
    """What tells a system of a config from its others, beside the number of its equations."""
    label, units = system.get("label"), system.get("state_size")
    if units is not None:
        return f"{system['cell']}, {units} unit{'s' * (units != 1)}"
    return f"{label}, {system['features']} features"


def _measured(config: str, system: Any, rows: Sequence[Row], title: str) -> Measured:
    return Measured(config, title, system["num_equations"], tuple(rows), system["sweep_s"]["median"])


def headline() -> str:
    """Of each kind of system a parallel solver, beside both baselines and what was published."""
    header = ("system", "solver", "steps of T", "work", "time", "naive", "cached", "error", "published")
    lines: list[tuple[str, ...]] = [header]
    for config, index, label, title, published in HEADLINE:
        measured = list(systems(config))[index]
        row = measured.parallel(label)
        lines.append((title, _inner(row), *_cells(measured, row), published))
    return _aligned(lines, words=(0, 1, len(header) - 1))


def _aligned(lines: Sequence[Sequence[str]], words: Collection[int]) -> str:
    """Lines of text in columns; those of numbers end at the same place."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ""
    for line in lines:
        cells = zip(line, widths, strict=True)
        placed = [cell.ljust(width) if i in words else cell.rjust(width) for i, (cell, width) in enumerate(cells)]
        text += f"    {' '.join(placed).rstrip()}\n"
    if max(map(len, text.splitlines())) - 4 > WIDTH:
        raise ValueError(f"the table has more than {WIDTH} columns:\n{text}")
    return text


def _cells(measured: Measured, row: Row) -> tuple[str, ...]:
    """Steps of T, work in sweeps, time, the speed-ups over both baselines, and the error."""
    time, cached = median(row), measured.cached_s
    return (
        f"{row['num_steps']}/{measured.num_equations}",
        _number(row["sweep_equivalents"]),
        format_seconds(time),
        ("~" if measured.reckoned else "") + _times(measured.naive_s / time),
        "-" if cached is None else _times(cached / time),
        _error(row),
    )


def _number(value: float) -> str:
    """Three digits of a number, and all before the point of one that has more."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _times(ratio: float) -> str:
    """How many times as fast, in two digits."""
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def _error(row: Row) -> str:
    error = row.get("max_abs_error")
    return "-" if error is None else "0" if error == 0 else f"{error:.0e}".replace("e-0", "e-")


def _inner(row: Row) -> str:
    """The name of the solver, of that inside ``segmented`` or ``windowed`` where it says which."""
    inside = re.fullmatch(r"(?:segmented|windowed)\(solver=(\w+).*", row["label"])
    return inside[1] if inside else str(row["solver"])


_RECKONED = "A number behind ~ is calculated from the time of one sweep: naive evaluation was not run."


def solved(*configs: str) -> str:
    """The solvers of configs that solve one system, each once."""
    found: dict[str, list[str]] = {}
    for config in configs:
        (measured,) = systems(config)
        for row in measured.rows:
            cells = _cells(measured, row) if row["status"] == "converged" else ("-",) * 6
            found.setdefault(row["label"], [f"`{row['label']}`", *cells, str(row["mismatched_equations"])])
    header = ["solver", "steps of T", "work, in sweeps", "time", "over naive", "over cached", "error", "mismatched"]
    table = markdown(header, list(found.values()))
    return f"{table}\n{_RECKONED}\n" if "| ~" in table else table


def every() -> str:
    """Every system with every solver."""
    lines = []
    for path in sorted(REFERENCE.glob("*/results.json")):
        config = path.parent.name
        if config.startswith("train_"):
            continue
        for measured in systems(config) if _compares(results(config)) else ():
            title = f"`{config}`" if measured.title == config else f"`{config}`: {measured.title}"
            for row in measured.rows:
                cells = _cells(measured, row) if row["status"] == "converged" else ("-",) * 6
                lines.append([title, f"`{row['label']}`", row["status"].replace("_", " "), *cells])
    header = [
        "config",
        "solver",
        "status",
        "steps of T",
        "work, in sweeps",
        "time",
        "over naive",
        "over cached",
        "error",
    ]
    return markdown(header, lines)


def _compares(record: Mapping[str, Any]) -> bool:
    """Whether results compare solvers by their times."""
    if "rows" in record:
        return bool(record["rows"]) and "run_s" in record["rows"][0]
    several = record.get("experiments") or record.get("systems") or []
    return bool(several) and "rows" in several[0]


def gallery() -> str:
    """Pictures of results in rows of three, and the beginning of a text."""
    lines = []
    for i in range(0, len(GALLERY), 3):
        three = GALLERY[i : i + 3]
        lines.append([f"![{words}](plot_data/reference/{place})<br>{words}" for words, place in three])
    written = (REFERENCE / TEXT / "samples.txt").read_text(encoding="utf-8").split("\n", 1)[1]
    text = textwrap.wrap(" ".join(written.split())[:_LETTERS], WIDTH)[:-1]
    shown = "".join(f"    {line}\n" for line in text)
    return f"{markdown(['', '', ''], lines)}\nText by the language model:\n\n{shown}"
