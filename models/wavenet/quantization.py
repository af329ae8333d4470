"""Sound as class ids: which of K input values a sample is nearest to, evenly spaced or mu-law companded.

The companding is equation (1) of section 2.2 of van den Oord et al., "WaveNet: A Generative Model for Raw Audio"
(arXiv 1609.03499), that of ITU-T G.711 without its piecewise straight approximation. The even spacing is what Paine et
al., "Fast Wavenet Generation Algorithm" (arXiv 1611.09482), use in their code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32

from common.table import Table

MAX_CLASSES = 65_536  # 16 bits, what sound is kept in


@dataclass(frozen=True)
class Linear:
    """Class k is the value linspace(-1, 1, K)[k].

    Attributes:
        num_classes: K, from 2 to 65,536.
    """

    num_classes: int = 256

    def __post_init__(self) -> None:
        _check_classes(self.num_classes)

    @property
    def values(self) -> Float32[np.ndarray, " K"]:
        """The input value of each class, rising from -1 to 1."""
        return np.linspace(-1.0, 1.0, self.num_classes).astype(np.float32)

    def encode(self, x: Float[Array | np.ndarray, "*shape"]) -> Int32[Array, "*shape"]:
        """The class whose value is nearest; beyond [-1, 1] the first or the last. NaN has no class."""
        return _nearest(jnp.clip(x, -1.0, 1.0), self.num_classes)

    def decode(self, ids: Int[Array | np.ndarray, "*shape"]) -> Float32[Array, "*shape"]:
        """The value of each class id in [0, K)."""
        return jnp.asarray(self.values)[ids]


@dataclass(frozen=True)
class MuLaw:
    """Classes evenly spaced in f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu), mu = K - 1: fine where sound is soft.

    An even K has no class for exact silence: its two middle values are +-((1 + mu)^(1/mu) - 1) / mu, 8.6e-5 for 256.

    Attributes:
        num_classes: K, from 2 to 65,536.
    """

    num_classes: int = 256

    def __post_init__(self) -> None:
        _check_classes(self.num_classes)

    @property
    def values(self) -> Float32[np.ndarray, " K"]:
        """The input value of each class, rising from -1 to 1 and symmetric: the inverse of f at linspace(-1, 1, K)."""
        mu = self.num_classes - 1
        companded = np.arange(-mu, mu + 1, 2) / mu  # as linspace, and exactly odd
        return (np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(mu)) / mu).astype(np.float32)

    def encode(self, x: Float[Array | np.ndarray, "*shape"]) -> Int32[Array, "*shape"]:
        """The class that f(x) is nearest to; beyond [-1, 1] the first or the last. NaN has no class."""
        mu = self.num_classes - 1
        x = jnp.clip(x, -1.0, 1.0)
        companded = jnp.sign(x) * jnp.log1p(mu * jnp.abs(x)) / np.log1p(mu).item()
        return _nearest(companded, self.num_classes)

    def decode(self, ids: Int[Array | np.ndarray, "*shape"]) -> Float32[Array, "*shape"]:
        """The value of each class id in [0, K)."""
        return jnp.asarray(self.values)[ids]


Quantizer: TypeAlias = Linear | MuLaw
QUANTIZERS: Table[type[Quantizer]] = Table(
    "quantization",
    {"mu_law": "models.wavenet.quantization:MuLaw", "linear": "models.wavenet.quantization:Linear"},
)


def _nearest(x: Float[Array, "*shape"], num_classes: int) -> Int32[Array, "*shape"]:
    """The number of the nearest of linspace(-1, 1, K)."""
    return jnp.round((x + 1.0) * ((num_classes - 1) / 2)).astype(jnp.int32)


def _check_classes(num_classes: int) -> None:
    if not 2 <= num_classes <= MAX_CLASSES:
        raise ValueError(f"num_classes should be from 2 to {MAX_CLASSES}, not {num_classes}")
