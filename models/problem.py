"""Systems by name with their options, as a config states them: nothing is trained and no data is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

Count = Annotated[int, Field(ge=1, lt=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Nonnegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Problem(ABC):
    """The options of a system of equations, every one with a default."""

    @abstractmethod
    def system(self, seed: int) -> Any:
        """The system; what is drawn at random is drawn from the seed."""
