"""How the equations of samples lie in files: batch first, and the T equations as the model's grid says."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Shaped


def batch_first(array: Shaped[np.ndarray, "T B ..."], grid: tuple[int, ...]) -> Shaped[np.ndarray, "B ..."]:
    """States or noise as files hold them, (batch, *grid, ...)."""
    array = np.moveaxis(np.asarray(array), 1, 0)
    return array.reshape(len(array), *grid, *array.shape[2:])


def by_equation(array: Shaped[np.ndarray, "B ..."], grid: tuple[int, ...]) -> Shaped[np.ndarray, "T B ..."]:
    """The inverse of ``batch_first``."""
    return np.moveaxis(array.reshape(len(array), math.prod(grid), *array.shape[1 + len(grid) :]), 0, 1)
