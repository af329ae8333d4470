"""Checks of every importer: the architecture is the one asked for, each entry is there and fits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from common.errors import UserError
from models import model_config
from models.weights.checkpoint import CheckpointError, check_agreement, fitting


def agreed_config(source: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> Any:
    """The model's config as a file tells it, the rest from ``expected``. Raises CheckpointError if they conflict."""
    check_agreement(source, found, expected)
    try:
        return model_config({**expected, **found})
    except UserError as error:
        raise CheckpointError(f"{source}: {error}") from None


def take_entry(
    state: Mapping[str, np.ndarray], key: str, shape: tuple[int | str, ...], source: str, dtype: Any = np.float32
) -> np.ndarray:
    """An array by its name, as ``dtype``.

    Raises CheckpointError unless it is there, shaped so (words stand for any length), and its numbers fit.
    """
    expected = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    if key not in state:
        raise CheckpointError(f"{source}: entry {key!r} is missing; expected shape {expected}")
    found = state[key].shape
    lengths = zip(found, shape, strict=False)
    if len(found) != len(shape) or not all(isinstance(want, str) or have == want for have, want in lengths):
        raise CheckpointError(f"{source}: entry {key!r} has shape {found}; expected {expected}")
    return fitting(state[key], dtype, f"{source}: entry {key!r}")


def refuse_others(state: Mapping[str, np.ndarray], wanted: Collection[str], source: str) -> None:
    """Raise CheckpointError if there is an entry besides those that are wanted."""
    for key in sorted(set(state) - set(wanted)):
        raise CheckpointError(f"{source}: unexpected entry {key!r} of shape {state[key].shape}")


def common_length(state: Mapping[str, np.ndarray], pattern: str, axis: int) -> int | None:
    """The most common length of an axis among the entries that fit; None if there are none."""
    lengths = [a.shape[axis] for key, a in state.items() if re.fullmatch(pattern, key) and a.ndim > axis]
    return Counter(lengths).most_common(1)[0][0] if lengths else None
