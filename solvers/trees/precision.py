"""Products of float32 numbers in float32, where an accelerator rounds the factors to fewer bits unless it is told.

NVIDIA's GPUs multiply float32 numbers as TF32, with 10 bits of fraction for 23, and TPUs as bfloat16, with 7. Solvers
take a system's values by products of different shapes, which devices do not all round alike: at 10 bits their answers
would differ by a thousandth, where they promise the same answer up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax

from .platform import has_accelerator

FULL = "float32"  # as JAX calls it

P = ParamSpec("P")
R = TypeVar("R")


def matmul_precision() -> str:
    """The precision that products of float32 numbers have in a solve, by JAX's name: float32, unless JAX was told.

    Where JAX has CPUs alone it is float32 whatever JAX was told: there no factor is rounded.
    """
    told: str | None = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return told if told is not None and has_accelerator() else FULL


def full_products(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, traced with products in float32 unless JAX was told (``jax.default_matmul_precision``).

    Programs say so wherever there is an accelerator, even if JAX computes on a CPU by default: arrays may be on the
    accelerator all the same. To a CPU it makes no difference, as it has no other products. Where JAX has CPUs alone
    programs stay as they are: one that says so would be compiled anew.
    """

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        if not has_accelerator():
            return function(*args, **kwargs)
        with jax.default_matmul_precision(matmul_precision()):
            return function(*args, **kwargs)

    return inside
