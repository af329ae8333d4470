"""Conditioning of a stack of dilated convolutions: on whole samples (a speaker) and in time (text, a spectrogram).

Each layer's sums get V h of a vector h that is the same at all times, and U y_t of frames y that are repeated up to the
rate of the samples (van den Oord et al., arXiv 1609.03499, section 2.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from models.layers.normal import Normal
from models.wavenet.stack import Shares
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class Conditioning:
    """Conditions of a batch of samples; each part is there if the architecture asks for it."""

    classes: Int[Array, " _"] | None = None  # of whole samples, from 0
    vectors: Float[Array, "_ G"] | None = None  # of whole samples
    frames: Float[Array, "_ F L"] | None = None  # in time: frame f is for samples [f * hop, (f + 1) * hop)


class ConditioningWeights(nnx.Module):
    """The kernels V and U of all layers, and embeddings of classes."""

    def __init__(
        self, classes: int, size: int, local_size: int, hop: int, sums: tuple[int, int], normal: Normal
    ) -> None:
        """``classes``, ``size``: of conditioning on whole samples, 0 for none; ``sums``: layers, and sums of each."""
        self.classes, self.size, self.local_size, self.hop = classes, size, local_size, hop
        num_layers, width = sums
        self.embedding = nnx.Param(normal((classes, size), 1.0)) if classes else None
        self.whole = nnx.Param(normal((size, num_layers, width), size**-0.5)) if size else None
        self.local = nnx.Param(normal((local_size, num_layers, width), local_size**-0.5)) if local_size else None

    def shares(self, biases: Sequence[Float[Array, " Z"]], given: Conditioning | None, num_samples: int) -> Shares:
        """The shares in each layer's sums, for ``num_samples`` samples. Raises ValueError where they do not fit."""
        given = Conditioning() if given is None else given
        self._check(given, num_samples)
        constant = tuple(bias[None] for bias in biases)
        vectors = given.vectors
        if self.embedding is not None:
            vectors = self.embedding[...][given.classes]
        if self.whole is not None:
            of_vectors = jnp.einsum("bg,gnz->nbz", vectors, self.whole[...])
            constant = tuple(bias + share for bias, share in zip(constant, of_vectors, strict=True))
        if self.local is None:
            return Shares(constant)
        local = jnp.einsum("bfl,lnz->fnbz", given.frames, self.local[...])
        return Shares(constant, local, jnp.int32(0), self.hop)

    def _check(self, given: Conditioning, num_samples: int) -> None:
        wanted = {
            "classes": (("batch",), bool(self.classes)),
            "vectors": (("batch", self.size), bool(self.size) and not self.classes),
            "frames": (("batch", f"at least {-(-num_samples // self.hop)}", self.local_size), bool(self.local_size)),
        }
        batches = {}
        for name, (shape, needed) in wanted.items():
            array = getattr(given, name)
            said = f"({', '.join(map(str, shape))})"
            if needed and array is None:
                raise ValueError(f"conditioning: the network needs {name} of shape {said}")
            if array is None:
                continue
            if not needed:
                raise ValueError(f"conditioning: the network takes no {name}")
            sizes = array.shape
            fits = len(sizes) == len(shape) and all(
                not isinstance(want, int) or have == want for have, want in zip(sizes, shape, strict=True)
            )
            if not fits or (name == "frames" and sizes[1] * self.hop < num_samples):
                raise ValueError(
                    f"conditioning: {name} should have the shape {said} for {num_samples} samples, not {list(sizes)}"
                )
            batches[name] = sizes[0]
        if len(set(batches.values())) > 1:
            raise ValueError(f"conditioning: the parts disagree on the batch size: {batches}")
        _check_values(given, self.classes)


def _check_values(given: Conditioning, num_classes: int) -> None:
    """Raise ValueError where a value makes no sense, so far as values are known (under jit they are not)."""
    known = {
        name: np.asarray(array)
        for name, array in vars(given).items()
        if array is not None and not isinstance(array, jax.core.Tracer)
    }
    for name in ("vectors", "frames"):
        if name in known and not np.isfinite(known[name]).all():
            raise ValueError(f"conditioning: {name} should be finite")
    classes = known.get("classes", np.zeros(0, np.int32))
    if not np.issubdtype(classes.dtype, np.integer) or np.any((classes < 0) | (classes >= num_classes)):
        raise ValueError(
            f"conditioning: classes should be whole numbers from 0 to {num_classes - 1}, not {classes.tolist()}"
        )
