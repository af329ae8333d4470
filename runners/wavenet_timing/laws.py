"""Growth laws of the time per sample, by least squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

_NAIVE_FROM = 8  # layers: below, a call's fixed cost hides how the work grows


def growth_laws(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Fit the rows of results.json: a law each for queues, queues on one core, the bare chain, and naive.

    The first three grow with the number of layers L, ms = a + b L, and as a power of it, ms ~ L^exponent. The last
    grows as ms = c 2^(s L), with s a little above 1: each layer doubles the receptive field and adds to the work on it.
    A law is None where there are fewer than two points.
    """
    laws = {name: _linear(*_points(rows, f"{name}_ms")) for name in ("queues", "pinned_queues", "chain")}
    layers, ms = _points(rows, "naive_ms")
    enough = layers >= _NAIVE_FROM if np.count_nonzero(layers >= _NAIVE_FROM) > 1 else layers >= 0
    return {**laws, "naive": _exponential(layers[enough], ms[enough])}


def law_value(law: Mapping[str, float], layers: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """A law's ms at so many layers."""
    if "doublings_per_layer" in law:
        return law["c_ms"] * 2.0 ** (law["doublings_per_layer"] * layers)
    return law["a_ms"] + law["b_ms"] * layers


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Layers and median ms, where they were measured."""
    found = [(row["layers"], row[key]["median"]) for row in rows if row[key] is not None]
    array = np.asarray(found, float).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _linear(layers: Float[np.ndarray, " N"], ms: Float[np.ndarray, " N"]) -> dict[str, Any] | None:
    if len(layers) < 2:
        return None
    slope, constant, determined = _line(layers, ms)
    exponent, _, _ = _line(np.log(layers), np.log(ms))
    return {"a_ms": constant, "b_ms": slope, "r_squared": determined, "exponent": exponent}


def _exponential(layers: Float[np.ndarray, " N"], ms: Float[np.ndarray, " N"]) -> dict[str, Any] | None:
    if len(layers) < 2:
        return None
    slope, constant, determined = _line(layers, np.log2(ms))
    least = int(layers.min())
    return {"c_ms": 2.0**constant, "doublings_per_layer": slope, "r_squared": determined, "from_layers": least}


def _line(x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]) -> tuple[float, float, float]:
    """Slope, constant and the share of the variance that the line explains."""
    slope, constant = np.polyfit(x, y, 1)
    rest, spread = np.sum((y - constant - slope * x) ** 2), np.sum((y - y.mean()) ** 2)
    return float(slope), float(constant), float(1.0 - rest / spread) if spread else 1.0
