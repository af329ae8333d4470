"""The table of a comparison."""

from __future__ import annotations

from runners.measure.comparison import Comparison
from runners.measure.job import Row
from runners.report.table import Column, ResultTable
from runners.report.units import format_seconds

# The numbers say which column makes room first where the console is narrow.
_COLUMNS = (
    Column("solver", align="left"),
    Column("status", align="left"),
    Column("steps"),
    Column("sweeps", drop=4),
    Column("time"),
    Column("quartiles", drop=3),
    Column("vs naive", drop=5),
    Column("vs cached"),
    Column("residual", drop=7),
    Column("mismatched", drop=6),
    Column("error"),
    Column("memory", drop=2),
    Column("compile", drop=1),
)


def comparison_table(comparison: Comparison, title: str) -> ResultTable:
    """All rows, the fastest converged one marked."""
    return ResultTable(
        title=title,
        columns=_COLUMNS,
        rows=[_cells(row, comparison) for row in comparison.rows],
        best=next((i for i, row in enumerate(comparison.rows) if row is comparison.best), None),
        note=(
            f"T = {comparison.num_equations} equations, batch {comparison.batch_size}; one sweep takes "
            f"{format_seconds(comparison.sweep_s.median)}. * fastest that converged; steps: sequential network "
            "evaluations; sweeps: work in full sweeps; residual: max |F(x) - x|; mismatched: equations off by more "
            f"than 0.001; error: against {comparison.reference_label}."
        ),
    )


def _cells(row: Row, comparison: Comparison) -> list[str]:
    speedups = comparison.speedups(row)
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
