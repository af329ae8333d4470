"""WaveNet's time per sample as a report: a row for every network, growth laws, a picture and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from models.wavenet.model import WaveNetConfig
from runners.measure.timing import Times
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Cells, Column, ResultTable
from runners.report.units import format_seconds
from runners.wavenet_timing.figures import timing_figure
from runners.wavenet_timing.laws import growth_laws
from runners.wavenet_timing.speed import Speed

# The numbers say which column makes room first where the console is narrow.
_CELLS: Cells = (
    (Column("layers"), lambda row: f"{row['layers']}"),
    (Column("batch", drop=4), lambda row: f"{row['batch_size']}"),
    (Column("receptive field", drop=3), lambda row: f"{row['receptive_field']:,}"),
    (Column("naive"), lambda row: _time(row["naive_ms"])),
    (Column("queues"), lambda row: _time(row["queues_ms"])),
    (Column("chain", drop=5), lambda row: _time(row["chain_ms"])),
    (Column("ratio"), lambda row: _ratio(row["ratio_to_chain"])),
    (Column("one core: queues"), lambda row: _time(row["pinned_queues_ms"])),
    (Column("one core: chain", drop=1), lambda row: _time(row["pinned_chain_ms"])),
    (Column("one core: ratio", drop=2), lambda row: _ratio(row["pinned_ratio_to_chain"])),
)
_NOTE = (
    "Times are for one more sample of every sequence. naive: a sweep over the receptive field; chain: the bare chain "
    "of products, a lower bound; ratio: queues over chain."
)


@dataclass(frozen=True)
class Timed:
    """The measurements of one network and batch size."""

    layers: int
    batch_size: int
    network: WaveNetConfig
    speed: Speed
    pinned: Speed | None
    naive: Times | None

    @property
    def record(self) -> dict[str, Any]:
        """As results.json has it, times in ms for one more sample of every sequence of the batch."""
        return {
            "layers": self.layers,
            "batch_size": self.batch_size,
            "num_layers": len(self.network.dilations),
            "receptive_field": self.network.receptive_field,
            "state_bytes": self.speed.state_bytes,
            "naive_ms": self.naive and self.naive.in_ms,
            **_speed_record(self.speed, "", self.network.sample_rate),
            **_speed_record(self.pinned, "pinned_", self.network.sample_rate),
        }


def timing_report(
    title: str, config: Mapping[str, Any], timed: Sequence[Timed], skipped: Sequence[Mapping[str, Any]]
) -> Report:
    """Make the report of an experiment from its resolved config and the measurements.

    ``timed``: one for each of the config's ``layers``, and behind them the wide ones. ``skipped``: what was left out,
    and why.
    """
    count, rows = len(config["layers"]), [one.record for one in timed]
    laws = growth_laws(rows[:count])
    record = {"rows": rows[:count], "wide": rows[count:], "laws": laws, "skipped": list(skipped)}
    draw = partial(timing_figure, {**record, "config": config}, f"{title}, batch {config['batch_size']}")
    return Report(
        kind="wavenet_timing",
        title=title,
        config=config,
        record=record,
        artifacts=[Picture("timing.png", draw)],
        tables=[ResultTable.of(title, _CELLS, rows, note=_NOTE)],
    )


def _speed_record(speed: Speed | None, prefix: str, sample_rate: int) -> dict[str, Any]:
    """Times with queues and of the bare chain, their ratio, and time spent over time of sound."""
    return {
        f"{prefix}queues_ms": speed and speed.queues.in_ms,
        f"{prefix}chain_ms": speed and speed.chain.in_ms,
        f"{prefix}ratio_to_chain": speed and speed.queues.median / speed.chain.median,
        f"{prefix}real_time_factor": speed and speed.queues.median * sample_rate,
    }


def _time(ms: Mapping[str, float] | None) -> str:
    return "-" if ms is None else format_seconds(1e-3 * ms["median"])


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
