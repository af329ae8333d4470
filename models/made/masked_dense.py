"""A dense layer some of whose weights are fixed at zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float


class MaskedDense(nnx.Module):
    """y = (mask * kernel) x + bias, features before batch: kernel (outputs, inputs), x (inputs, batch)."""

    def __init__(self, mask: Bool[np.ndarray, "O I"], *, rngs: nnx.Rngs) -> None:
        """Uniform weights scaled by the connections that each unit really has; biases zero."""
        fan_in = np.maximum(1, mask.sum(axis=1, keepdims=True))
        uniform = jax.random.uniform(rngs.params(), mask.shape, minval=-1.0, maxval=1.0)
        self.kernel = nnx.Param(uniform * np.sqrt(3.0 / fan_in).astype(np.float32))
        self.bias = nnx.Param(jnp.zeros(mask.shape[0]))
        self.mask = nnx.Variable(jnp.asarray(mask))

    def folded(self) -> tuple[Float[Array, "O I"], Float[Array, " O"]]:
        """The layer in the inference form: mask and kernel in one, and the bias."""
        return jnp.where(self.mask[...], self.kernel[...], 0.0), self.bias[...]
