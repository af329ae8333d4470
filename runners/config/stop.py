"""Truncation as an aim: where a solver of a config is to stop on purpose, with a rough answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from common.options import build_options
from solvers import Status


@dataclass(frozen=True)
class Stop:
    """Stop after so many steps of the solver, or once the residual is within a rough tolerance, or at either.

    ``expected`` is there to be read: a limit that a solve should not run into is the entry's own ``max_steps``.
    """

    max_steps: Annotated[int, Field(ge=1)] | None = None
    tol: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    expected: Literal[True] = True

    def __post_init__(self) -> None:
        if self.max_steps is None and self.tol is None:
            raise ValueError("expected max_steps or tol, for example {max_steps: 10, expected: true}")

    @property
    def ends(self) -> frozenset[Status]:
        """How a solve may end that was stopped by this."""
        limits = {Status.MAX_STEPS_REACHED: self.max_steps, Status.CONVERGED: self.tol}
        return frozenset(status for status, limit in limits.items() if limit is not None)

    @property
    def record(self) -> dict[str, Any]:
        """As a config has it."""
        limits = {"max_steps": self.max_steps, "tol": self.tol}
        return {**{key: limit for key, limit in limits.items() if limit is not None}, "expected": True}


def parse_stop(value: Any, given: dict[str, Any]) -> Stop | None:
    """The stop that an entry asks for; ``given`` are its own ``max_steps`` and ``tol``, None where it has none.

    Raises ValueError where the two say different things, or it is not such a mapping.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"stop should be a mapping, for example {{max_steps: 10, expected: true}}, not {value!r}")
    try:
        stop = build_options(Stop, value)
    except ValueError as error:
        raise ValueError(f"stop: {error}") from None
    for key, own in given.items():
        wanted = getattr(stop, key)
        if own is not None and wanted is not None and own != wanted:
            raise ValueError(f"{key} {own:g} and {key} {wanted:g} of stop differ; leave out the former")
    return stop
