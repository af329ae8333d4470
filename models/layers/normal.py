"""Normal random weights, drawn by numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float


class Normal:
    """Draws by numpy: jax would compile a program for every shape."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self._random = np.random.default_rng(np.asarray(jax.random.key_data(rngs.params())))

    def __call__(self, shape: tuple[int, ...], scale: float) -> Float[Array, "..."]:
        """Numbers of standard deviation ``scale``, each call new ones."""
        return jnp.asarray(self._random.normal(0.0, scale, shape).astype(np.float32))
