"""The table of the time per sample of sound, by the number of a network's layers."""

from __future__ import annotations

from docs.tools.results import markdown, results
from runners.report.units import format_seconds

SHOWN = (5, 10, 14, 15)  # layers a block; the published network has 14


def timing() -> str:
    """Naive generation and generation with queues, the latter on all cores and on one, beside its own lower bound."""
    rows = [row for row in results("wavenet_timing")["rows"] if row["layers"] in SHOWN and row["batch_size"] == 1]
    header = ["L", "receptive field", "naive", "queues", "queues, one core", "queues / chain, one core"]
    lines = [
        [
            str(row["layers"]),
            f"{row['receptive_field']:,}",
            *(format_seconds(row[key]["median"] / 1e3) for key in ("naive_ms", "queues_ms", "pinned_queues_ms")),
            f"{row['pinned_ratio_to_chain']:.1f}",
        ]
        for row in rows
    ]
    return markdown(header, lines)
