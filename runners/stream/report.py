"""A stream that is over as a report: latencies, what the network heard, and the check against a full pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from runners.plotting.picture import Picture
from runners.report.report import Report
from runners.report.table import Column, ResultTable
from runners.report.units import format_bytes, format_seconds
from runners.stream.figures import stream_figure
from runners.stream.journal import Journal

_TOLERANCE = 1e-5  # of the largest output, which counts as 1 at the least
_NOTE = "late: chunks that took longer than they last; real-time factor: seconds of work for a second of sound."


@dataclass(frozen=True)
class StreamResult:
    """A stream that is over."""

    journal: Journal  # what was kept of it, by chunk
    label: str  # the name of the values, with their unit
    chunk_size: int  # samples of a chunk; the last may have fewer
    difference: float | None  # of the outputs from a full pass's, the greatest; None where none was made
    compile_s: float  # the seconds that compiling took
    state_bytes: int  # what goes from chunk to chunk


def stream_report(
    title: str, config: Mapping[str, Any], result: StreamResult, afterwards: Sequence[Callable[[Path], None]] = ()
) -> Report:
    """A stream as a report. ``config`` is the resolved one, ``afterwards`` waits until the results are on disk."""
    journal = result.journal
    record = _record(result)
    outputs = {
        "time_s": np.cumsum(journal.sizes) / journal.sample_rate,
        "num_samples": journal.sizes.astype(np.int64),
        "latency_s": journal.latency_s,
        "values": journal.values,
        "low": journal.low,
        "high": journal.high,
    }
    return Report(
        kind="stream",
        title=title,
        config=config,
        record=record,
        arrays={"outputs.npz": outputs},
        artifacts=[Picture("stream.png", partial(stream_figure, outputs, record, title))],
        tables=[_table(title, record)],
        sentences=[f"{journal.duration_s:.6g} s of sound at {journal.sample_rate} Hz."],
        failure=_failure(result),
        afterwards=afterwards,
    )


def _record(result: StreamResult) -> dict[str, Any]:
    journal = result.journal
    p50, p99 = (float(np.percentile(journal.latency_s, part)) for part in (50, 99))
    return {
        "stream": {
            "sample_rate": journal.sample_rate,
            "num_samples": journal.num_samples,
            "duration_s": journal.duration_s,
            "chunk_samples": result.chunk_size,
            "num_chunks": len(journal.sizes),
            "state_bytes": result.state_bytes,
        },
        "compile_s": result.compile_s,
        "latency_s": {"p50": p50, "p99": p99, "max": float(journal.latency_s.max())},
        "late_chunks": int(np.sum(journal.latency_s > journal.sizes / journal.sample_rate)),
        "real_time_factor": float(journal.latency_s.sum()) / journal.duration_s,
        "values": {"label": result.label, "mean": np.average(journal.values, axis=0, weights=journal.sizes).tolist()},
        "full_pass": {"num_samples": len(journal.first_sound), "max_abs_difference": result.difference},
    }


def _table(title: str, record: Mapping[str, Any]) -> ResultTable:
    """One row; the numbers say which column makes room first where the console is narrow."""
    stream, latency, values = record["stream"], record["latency_s"], record["values"]
    size, difference = stream["chunk_samples"], record["full_pass"]["max_abs_difference"]
    means = ", ".join([f"{mean:.4g}" for mean in values["mean"][:4]] + ["..."] * (len(values["mean"]) > 4))
    cells = [
        (Column("chunk"), f"{format_seconds(size / stream['sample_rate'])} ({size})"),
        (Column("chunks", drop=3), f"{stream['num_chunks']:,}"),
        (Column("latency p50"), format_seconds(latency["p50"])),
        (Column("p99", drop=6), format_seconds(latency["p99"])),
        (Column("max", drop=4), format_seconds(latency["max"])),
        (Column("late", drop=5), f"{record['late_chunks']:,}"),
        (Column("real-time factor", drop=7), f"{record['real_time_factor']:.3f}"),
        (Column(values["label"]), means),
        (Column("against full pass", drop=1), "-" if difference is None else f"{difference:.1e}"),
        (Column("state", drop=2), format_bytes(stream["state_bytes"])),
    ]
    columns, row = zip(*cells, strict=True)
    return ResultTable(title, columns, [row], note=_NOTE)


def _failure(result: StreamResult) -> str | None:
    """A sentence where chunks gave something else than one pass."""
    difference, outputs = result.difference, result.journal.first_outputs
    if difference is None or difference <= _TOLERANCE * max(1.0, float(np.max(np.abs(outputs)))):
        return None
    return (
        f"outputs by chunks are {difference:.1e} off those of one pass over the same sound; the state does not "
        "carry all that the network needs of the past"
    )
