"""What an experiment on WaveNet's time per sample leaves behind: results, a picture, and a table on the console."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from common.files import replaced_folder
from models.wavenet.model import WaveNetConfig
from runners.cli.publish import SCHEMA, write_json
from runners.experiment import RunContext
from runners.measure.timing import Times
from runners.report.environment import describe_environment
from runners.report.units import format_seconds
from runners.wavenet_timing.config import WaveNetTimingConfig
from runners.wavenet_timing.figures import timing_figure
from runners.wavenet_timing.laws import growth_laws
from runners.wavenet_timing.speed import Speed


@dataclasses.dataclass(frozen=True)
class Timed:
    """What was measured of one network and batch size."""

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


def write_timing_report(
    context: RunContext, config: WaveNetTimingConfig, timed: Sequence[Timed], skipped: Sequence[dict[str, Any]]
) -> None:
    """Write results.json and timing.png to ``context.out``, which keeps its old content until all of the new is there.

    ``timed`` begins with one for each of the config's ``layers``; ``skipped`` says what was left out, and why.
    """
    count = len(config.layers)
    rows = [one.record for one in timed]
    record = {
        "schema": SCHEMA,
        "name": context.name,
        "runner": context.runner,
        "config": config.model_dump(),
        "seed": config.seed,
        **describe_environment(),
        "rows": rows[:count],
        "wide": rows[count:],
        "laws": growth_laws(rows[:count]),
        "skipped": list(skipped),
    }
    title = f"{context.name}: one more sample, {config.block} network, batch {config.batch_size}"
    with replaced_folder(context.out) as folder:
        write_json(folder / "results.json", record)
        timing_figure(folder / "timing.png", record, title)


def print_timing_table(timed: Sequence[Timed], title: str) -> None:
    """Print all rows to standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # no cell may wrap or be cut
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    heads = (
        "layers",
        "batch",
        "receptive field",
        "naive",
        "queues",
        "chain",
        "ratio",
        "one core: queues",
        "chain",
        "ratio",
    )
    for name in heads:
        table.add_column(name, justify="right", no_wrap=True)
    for one in timed:
        naive = "-" if one.naive is None else format_seconds(one.naive.median)
        sizes = f"{one.layers}", f"{one.batch_size}", f"{one.network.receptive_field:,}"
        table.add_row(*sizes, naive, *_speed_cells(one.speed), *_speed_cells(one.pinned))
    console.print(table)


def _in_ms(times: Times | None) -> dict[str, Any] | None:
    if times is None:
        return None
    return {key: value if key == "n" else 1e3 * value for key, value in dataclasses.asdict(times).items()}


def _speed_record(speed: Speed | None, prefix: str, sample_rate: int) -> dict[str, Any]:
    """Times with queues and of the floor, their ratio, and time spent over time of sound."""
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
