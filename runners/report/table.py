"""The table of a comparison on the console."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from runners.measure.comparison import Comparison
from runners.measure.job import Row
from runners.report.units import format_seconds

_COLUMNS = (
    ("solver", "left"),
    ("status", "left"),
    ("steps", "right"),
    ("sweeps", "right"),
    ("time", "right"),
    ("quartiles", "right"),
    ("vs naive", "right"),
    ("vs cached", "right"),
    ("residual", "right"),
    ("mismatched", "right"),
    ("error", "right"),
    ("memory", "right"),
    ("compile", "right"),
)


def print_table(comparison: Comparison, title: str) -> None:
    """Print all rows to standard output, the fastest converged one marked with a star."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # no cell may wrap or be cut
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for name, justify in _COLUMNS:
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in comparison.rows:
        best = row is comparison.best
        cells = _cells(row, comparison)
        cells[0] = ("* " if best else "  ") + cells[0]
        table.add_row(*cells, style="bold green" if best else None)
    console.print(table)
    console.print(
        f"T = {comparison.num_equations} equations, batch {comparison.batch_size}; one sweep takes "
        f"{format_seconds(comparison.sweep_s.median)}. * fastest that converged; steps: sequential network "
        f"evaluations; sweeps: work in full sweeps;\nresidual: max |F(x) - x|; mismatched: equations off by more than "
        f"0.001; error: against {comparison.reference_label}.",
        highlight=False,
    )


def _cells(row: Row, comparison: Comparison) -> list[str]:
    speedups = comparison.speedups[row.label]
    return [
        row.label,
        row.status.label,
        str(row.num_steps),
        f"{row.sweep_equivalents:.1f}",
        format_seconds(row.run_s.median),
        f"{format_seconds(row.run_s.q1)} - {format_seconds(row.run_s.q3)}",
        _times(speedups["speedup_vs_sequential"]),
        _times(speedups["speedup_vs_cached"]),
        f"{row.max_residual:.1e}" if row.max_residual else "0",
        str(row.mismatched_equations),
        f"{row.max_abs_error:.1e}" if row.max_abs_error else "0",
        "-" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 2**20:.1f} MiB",
        format_seconds(row.compile_s),
    ]


def _times(factor: float | None) -> str:
    if factor is None:
        return "-"
    return f"{factor:.1f}x" if factor >= 10 else f"{factor:.2f}x"
