"""Where the points of a row stand along axes of steps and of times, so that pictures and tables say the same.

``row`` is a row of results.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped


def drawn_steps(row: Mapping[str, Any], num_steps: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Steps as they are drawn: one of ``parallel_scan`` is a whole prefix scan, and as long as the scan's chain.

    The chain is ``chain_length``, products that follow one another; results from before it was recorded have none.
    """
    return np.asarray(num_steps, float) * row.get("chain_length", 1)


def said_steps(row: Mapping[str, Any]) -> str:
    """The steps of a row for a legend, with what one is made of where that is a chain."""
    said = "1 step" if row["num_steps"] == 1 else f"{row['num_steps']} steps"
    return f"{said}, a chain of {float(drawn_steps(row, row['num_steps'])):,.0f}" if "chain_length" in row else said


def drawn_times(row: Mapping[str, Any], seconds: Shaped[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
    """Times of a solve that was followed, stretched so that the last is the median of the timed runs, ``run_s``.

    It was followed in runs of its own, which were slower or faster by chance.
    """
    seconds = np.asarray(seconds, float)
    last = np.max(seconds[np.isfinite(seconds)], initial=0.0)
    return seconds * (row["run_s"]["median"] / last) if row.get("run_s") and last > 0 else seconds
