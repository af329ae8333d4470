"""The rows of any record: whatever it has a time of, by the names that lead to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# What tells the items of a list from each other, of the keys that they have: the first alone, or else the others all.
_NAMES = ("label", "solver")
_SIZES = {
    **{"cell": "{}", "layers": "{} layers", "num_equations": "T = {}", "state_size": "H = {}"},
    **{"batch_size": "batch {}", "epoch": "epoch {}", "parameter": "parameter {}"},
}
# What a row's time is, the first of these that it has: a key, and whether it is in milliseconds.
_TIMES = {"run_s": 1.0, "backward_s": 1.0, "step_s": 1.0, "queues_ms": 1e-3, "latency_s": 1.0, "wall_s": 1.0}
_STEPS = ("num_steps", "solver_steps")
_ERRORS = ("max_abs_error", "gradient_deviation", "max_loss_difference", "max_abs_difference")
_NOT_ROWS = {"config", "device", "versions", "critical_path", "early_exit", "skipped", "history"}


@dataclass(frozen=True)
class TimedRow:
    """What a record says of one of the things that were measured."""

    name: str
    values: Mapping[str, Any]

    @property
    def time_s(self) -> float | None:
        """The median of its time in seconds."""
        for key, unit in _TIMES.items():
            value = self.values.get(key)
            value = value.get("median", value.get("p50")) if isinstance(value, Mapping) else value
            if value is not None:
                return unit * float(value)
        return None

    @property
    def steps(self) -> float | None:
        """Network evaluations one after the other."""
        return _first(self.values, _STEPS)

    @property
    def error(self) -> float | None:
        """How far its answer is from that of its own run's reference."""
        return _first(self.values, _ERRORS)

    @property
    def status(self) -> str | None:
        """How its solve ended."""
        status = self.values.get("status")
        return None if status is None else str(status)

    @property
    def mismatched(self) -> int | None:
        """How many of its equations do not hold."""
        count = self.values.get("mismatched_equations")
        return None if count is None else int(count)


def rows_of(record: Mapping[str, Any]) -> dict[str, TimedRow]:
    """All rows by name, in their order; where a record has none, the whole of it is one."""
    rows: dict[str, TimedRow] = {}
    for name, values in _walk((), record):
        text, count = ": ".join(name), 2
        while text in rows:
            text, count = f"{': '.join(name)} ({count})", count + 1
        rows[text] = TimedRow(text, values)
    return rows or {"the run": TimedRow("the run", record)}


def item_name(item: Mapping[str, Any]) -> str:
    """What an item of a list is called; empty where nothing tells it from the others."""
    phase = f"{item['phase']} " if "phase" in item else ""
    for key in _NAMES:
        if key in item:
            return f"{phase}{item[key]}"
    sizes = [text.format(item[key]) for key, text in _SIZES.items() if item.get(key) is not None]
    return phase + ", ".join(sizes)


def _walk(path: tuple[str, ...], value: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for key, part in value.items():
        if key in _NOT_ROWS:
            continue
        inner = path if key in ("rows", "systems", "experiments") else (*path, key)
        if isinstance(part, Mapping):
            yield from _walk(inner, part)
        elif isinstance(part, list):
            for item in (item for item in part if isinstance(item, Mapping)):
                name = (*inner, item_name(item))
                if any(key in item for key in _TIMES):
                    yield name, item
                else:
                    yield from _walk(name, item)


def _first(values: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    found = next((values[key] for key in keys if values.get(key) is not None), None)
    return None if found is None else float(found)
