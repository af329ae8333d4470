"""WaveNet's time per sample as a report: a row for every network, growth laws, a picture and a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from models.wavenet.model import WaveNetConfig
from runners.measure.timing import Times
from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Column, ResultTable
from runners.report.units import format_seconds
from runners.wavenet_timing.figures import timing_figure
from runners.wavenet_timing.laws import growth_laws
from runners.wavenet_timing.speed import Speed

# The numbers say which column makes room first where the console is narrow.
_COLUMNS = (
    Column("layers"),
    Column("batch", drop=4),
    Column("receptive field", drop=3),
    Column("naive"),
    Column("queues"),
    Column("chain", drop=5),
    Column("ratio"),
    Column("one core: queues"),
    Column("one core: chain", drop=1),
    Column("one core: ratio", drop=2),
)
_NOTE = (
    "Times are for one more sample of every sequence. naive: a sweep over the receptive field; chain: the bare chain "
    "of products, a lower bound; ratio: queues over chain."
)


@dataclasses.dataclass(frozen=True)
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
            "naive_ms": _in_ms(self.naive),
            **_speed_record(self.speed, "", self.network.sample_rate),
            **_speed_record(self.pinned, "pinned_", self.network.sample_rate),
        }

    @property
    def cells(self) -> list[str]:
        """The row of the table, a text for each column."""
        naive = "-" if self.naive is None else format_seconds(self.naive.median)
        sizes = [f"{self.layers}", f"{self.batch_size}", f"{self.network.receptive_field:,}"]
        return [*sizes, naive, *_speed_cells(self.speed), *_speed_cells(self.pinned)]


def timing_report(
    title: str, config: Mapping[str, Any], timed: Sequence[Timed], skipped: Sequence[Mapping[str, Any]]
) -> Report:
    """Make the report of an experiment.

    Args:
        title: the line above the table; the picture's has the batch size too.
        config: the resolved one.
        timed: one for each of the config's ``layers``, and behind them the wide ones.
        skipped: what was left out, and why.
    """
    count = len(config["layers"])
    rows = [one.record for one in timed]
    record = {
        "rows": rows[:count],
        "wide": rows[count:],
        "laws": growth_laws(rows[:count]),
        "skipped": list(skipped),
    }
    draw = partial(timing_figure, {**record, "config": config}, f"{title}, batch {config['batch_size']}")
    return Report(
        kind="wavenet_timing",
        title=title,
        config=config,
        record=record,
        artifacts=[Picture("timing.png", draw)],
        tables=[ResultTable(title, _COLUMNS, [one.cells for one in timed], note=_NOTE)],
    )


def _in_ms(times: Times | None) -> dict[str, Any] | None:
    if times is None:
        return None
    return {key: value if key == "n" else 1e3 * value for key, value in dataclasses.asdict(times).items()}


def _speed_record(speed: Speed | None, prefix: str, sample_rate: int) -> dict[str, Any]:
    """Times with queues and of the bare chain, their ratio, and time spent over time of sound."""
    queues, chain = (None, None) if speed is None else (speed.queues, speed.chain)
    return {
        f"{prefix}queues_ms": _in_ms(queues),
        f"{prefix}chain_ms": _in_ms(chain),
        f"{prefix}ratio_to_chain": queues.median / chain.median if queues and chain else None,
        f"{prefix}real_time_factor": queues.median * sample_rate if queues else None,
    }


def _speed_cells(speed: Speed | None) -> list[str]:
    if speed is None:
        return ["-"] * 3
    queues, chain = speed.queues.median, speed.chain.median
    return [format_seconds(queues), format_seconds(chain), f"{queues / chain:.2f}"]
