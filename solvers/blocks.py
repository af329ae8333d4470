"""Blocks of equations: their number and length, and the option that solvers share which cut a system into them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from .solver import Solver
from .system import BlockSystem, SizedBlockSystem


def count_blocks(system: Any, size: int) -> int:
    """How many blocks of ``size`` cover the system."""
    return int(-(-system.num_equations // size))


def block_length(system: Any, requested: int | None) -> int:
    """A block size that ``system`` allows: ``requested``, or its default, but no longer than the system itself.

    Raises ValueError where the size is not a multiple of the system's block unit.
    """
    size = default_block_size(system) if requested is None else requested
    unit = system.block_unit
    longest = max(1, count_blocks(system, unit)) * unit
    if size % unit:
        raise ValueError(
            f"block_size {size} is not a multiple of the block unit, {unit}; "
            f"the nearest that is: {max(unit, round(size / unit) * unit)}"
        )
    return int(min(size, longest))


def default_block_size(system: Any) -> int:
    """The length of blocks where a solver's options give none: the system's own word, or else about sqrt(T).

    Blocks follow one another, and so do the steps inside one: of all lengths sqrt(T) makes the number of blocks plus
    their length smallest. The nearest multiple of the block unit is taken, or a shorter one, no less than half as
    long, that divides T: blocks that are all full need no padding and are cut by slices.
    """
    if isinstance(system, SizedBlockSystem):
        return int(system.default_block_size)
    unit, num_equations = int(system.block_unit), int(system.num_equations)
    nearest = max(1, round(math.sqrt(num_equations) / unit))
    counts = range(nearest, (nearest - 1) // 2, -1)
    return unit * next((count for count in counts if num_equations % (count * unit) == 0), nearest)


@dataclass(frozen=True)
class BlockSolver(Solver):
    """A solver that cuts a system into blocks of ``block_size`` equations, where None is the system's own default."""

    requires: ClassVar[type] = BlockSystem
    block_size: int | None = None
    tol: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_size is not None and self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, not {self.block_size}")

    def resolved(self, system: Any) -> BlockSolver:
        """The solver with the system's block size, where its options give none."""
        return self if self.block_size is not None else dataclasses.replace(self, block_size=self.block_length(system))

    def block_length(self, system: Any) -> int:
        """The length of its blocks of this system. Raises ValueError where the system does not allow it."""
        return block_length(system, self.block_size)
