"""The table of a survey: steps of the solvers on each system, in the order of their Lyapunov exponents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docs.tools.results import markdown, results

COLUMNS = {"newton": "newton(jacobian=full)", "quasi_newton": "quasi_newton", "picard": "picard", "jacobi": "jacobi"}
BESIDE = {"`parallel_scan`": "parallel_scan", "`jacobian: system`": "newton(jacobian=system)"}


def survey() -> str:
    """Steps, and the shortest time of a parallel solver in times of one compiled loop's."""
    found = sorted(results("when_it_pays")["systems"], key=lambda system: float(system["lyapunov"]))
    header = ["system", "exponent", *COLUMNS, "another solver", "shortest time / time of the loop"]
    return markdown(header, [_line(system) for system in found])


def _line(system: Mapping[str, Any]) -> list[str]:
    steps = {row["label"]: row["num_steps"] for row in system["rows"] if row["status"] == "converged"}
    beside = [f"{name} {steps[label]:,}" for name, label in BESIDE.items() if label in steps]
    least = system["least_time"]
    return [
        system["label"],
        f"{float(system['lyapunov']):+.3f}",
        *(f"{steps[label]:,}" if label in steps else "-" for label in COLUMNS.values()),
        ", ".join(beside),
        f"{_ratio(least['time_over_scan'])}, `{least['label'].split('(')[0]}`" if least else "-",
    ]


def _ratio(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"
