"""Weight normalization: a kernel's direction and its length as separate parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float


class WeightNorm(nnx.Module):
    """kernel = scale * v / ||v||, one scale for each index of ``axis``, the norm over all other axes; and a bias.

    Salimans, Kingma, "Weight Normalization", NeurIPS 2016 (arXiv 1602.07868).
    """

    def __init__(self, shape: Sequence[int], *, axis: int = -1, init_scale: float = 1.0, rngs: nnx.Rngs) -> None:
        """Random directions of length ``init_scale``, zero bias (one for each output, the last axis of ``shape``)."""
        self.axis = axis % len(shape)
        # By numpy: jax would compile a program for every shape, which takes a minute for a whole network.
        random = np.random.default_rng(np.asarray(jax.random.key_data(rngs.params())))
        self.v = nnx.Param(jnp.asarray(random.normal(0.0, 0.05, tuple(shape)).astype(np.float32)))
        self.scale = nnx.Param(jnp.asarray(np.full(shape[axis], init_scale, np.float32)))
        self.bias = nnx.Param(jnp.asarray(np.zeros(shape[-1], np.float32)))

    def folded(self) -> FoldedWeight:
        """The weight in the inference form: the kernel, computed once."""
        v, scale = self.v[...], self.scale[...]
        if isinstance(v, jax.core.Tracer) or isinstance(scale, jax.core.Tracer):
            return FoldedWeight(_kernel(jnp, v, scale, self.axis), self.bias[...])
        # By numpy, as the first weights, for the same reason; in double precision, which costs nothing here.
        kernel = _kernel(np, np.asarray(v, float), np.asarray(scale, float), self.axis)
        return FoldedWeight(jnp.asarray(kernel, v.dtype), self.bias[...])


def _kernel(numpy: Any, v: Any, scale: Any, axis: int) -> Any:
    """The kernel by jax's numpy or by numpy itself."""
    others = tuple(i for i in range(v.ndim) if i != axis)
    norm = numpy.sqrt(numpy.sum(numpy.square(v), axis=others, keepdims=True))
    return v * (numpy.expand_dims(scale, others) / norm)


class FoldedWeight(nnx.Module):
    """A weight in the inference form: a kernel, whatever it was made of, and its bias."""

    def __init__(self, kernel: Float[Array, "..."], bias: Float[Array, " F"]) -> None:
        self.kernel, self.bias = nnx.Param(kernel), nnx.Param(bias)

    def folded(self) -> FoldedWeight:
        """The weight as it is, which is folded already."""
        return self
