"""The architecture of a trunk, which the configs of models on it extend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TransformerConfig:
    """The sizes of a stack of transformer layers."""

    width: int = 128  # features of a position
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int | None = None  # heads of keys and values, each for a group of heads; null: as many as heads
    hidden: int = 4  # hidden units of a layer's perceptron, in multiples of the width
    positions: Literal["rope", "learned"] = "rope"  # how a position is told: queries and keys turned, or a vector added
    dtype: Literal["float32", "bfloat16"] = "float32"  # of products, and of the cache; norms and softmax are in float32

    def __post_init__(self) -> None:
        for name in ("width", "num_layers", "num_heads", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.width % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}")
        if self.num_kv_heads is not None and (self.num_kv_heads < 1 or self.num_heads % self.num_kv_heads):
            raise ValueError(f"num_kv_heads {self.num_kv_heads} does not divide num_heads {self.num_heads}")
        if self.positions == "rope" and self.head_size % 2:
            raise ValueError(f"positions: rope turns pairs of features, and a head has {self.head_size} of them")

    @property
    def head_size(self) -> int:
        """The number of features of a head."""
        return self.width // self.num_heads

    @property
    def groups(self) -> int:
        """The number of heads of keys and values."""
        return self.num_kv_heads or self.num_heads
