"""A stack of causal dilated convolutions in the inference form, on blocks of steps and step by step.

Step t of layer l reads its own input at t, t - d_l, ..., t - taps * d_l. Where it finds what it reads of the past is
all that sets a block apart from a single step; the layer itself is one definition for both.

Going step by step, only the products on the newest values form a chain. In a stretch of steps, a layer whose dilation
is at least the stretch's length reads nothing of the stretch itself: its queue's products for all steps are one matrix
product before the stretch begins. The other (near) layers' are one batched product a step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from models.layers.products import matmul
from models.wavenet.layers import Layer
from models.wavenet.rings import Rings, delayed
from solvers.trees.blocks import Start
from solvers.trees.pytree import pytree


@pytree
@dataclass(frozen=True)
class Shares:
    """The shares of biases and conditioning in each layer's sums. Frame f of ``local`` serves ``hop`` steps."""

    constant: tuple[Float[Array, "_ Z"], ...]  # of every step, by layer: (1, Z), or (batch, Z)
    local: Float[Array, "F n B Z"] | None = None
    begin: Start = 0  # the time at which frame 0 begins
    hop: int = field(default=1, metadata={"static": True})

    def rows(self, layer: int, time: Start, size: int) -> Float[Array, "_ _ Z"]:
        """A layer's shares at times time, time + 1, ..., or a single row that holds for all of them."""
        if self.local is None:
            return self.constant[layer][None]
        return self.constant[layer][None] + jnp.take(self.local[:, layer], self._frames(time, size), 0, mode="clip")

    def table(self, time: Start, size: int) -> Float[Array, "_ n _ Z"]:
        """The shares of all layers at times time, time + 1, ..., or a single row that holds for all of them."""
        constant = jnp.stack(self.constant)[None]
        if self.local is None:
            return constant
        return constant + jnp.take(self.local, self._frames(time, size), 0, mode="clip")

    def _frames(self, time: Start, size: int) -> Int[Array, " S"]:
        return (time + jnp.arange(size) - self.begin) // self.hop


class Stretch(NamedTuple):
    """Steps to be taken one by one; without a batch axis for a single sample, as vectors are faster."""

    inputs: Float[Array, "n _ *B C"]  # each layer's: those that near layers read of the past, then the stretch's
    past: Float[Array, "n S *B Z"]  # sums that are known already


@pytree
@dataclass(frozen=True)
class CausalStack:
    """The layers, and biases with conditioning."""

    layers: tuple[Layer, ...]
    shares: Shares
    rings: Rings = field(metadata={"static": True})
    num_skip: int = field(metadata={"static": True})  # channels of the skip connections' sum; 0: there are none

    @property
    def num_channels(self) -> int:
        """The number of channels of the layers' inputs."""
        return int(self.layers[0].filter.kernel(1).shape[0])

    def init_queues(self, batch_size: int) -> Float[Array, "D B C"]:
        """Queues of zeros: nothing has come before."""
        return jnp.zeros((self.rings.total, batch_size, self.num_channels), self.shares.constant[0].dtype)

    def block(
        self, h: Float[Array, "S B C"], queues: Float[Array, "D B C"], time: Start, rings: Rings
    ) -> tuple[tuple[Float[Array, "S B C"], Any], list[Float[Array, "S B C"]]]:
        """All layers at times time, ..., time + S - 1 from the first layer's inputs.

        ``rings``: those that ``queues`` are laid out by. Returns the last layer's output with the skip connections'
        sum, and every layer's inputs, which the queues take.
        """
        size = h.shape[0]
        pasts = rings.read(queues, range(len(self.layers)), time, size)
        skip, inputs = self._no_skip(h), []
        for index, (layer, past) in enumerate(zip(self.layers, pasts, strict=True)):
            shares = self.shares.rows(index, time, size)
            taps = [delayed(rows, h) for rows in past]
            sums = layer.filter.add(shares, [jnp.concatenate(taps, axis=-1), h])
            inputs.append(h)
            h, skip = layer(h, skip, sums)
        return (h, skip), inputs

    def open(self, queues: Float[Array, "D B C"], time: Start, size: int) -> Stretch:
        """A stretch of ``size`` steps, with all that depends on the past alone computed at once."""
        batch, far, reach = queues.shape[1], self._far(size), self._reach(size)
        sums: dict[int, Array] = {}
        if far:
            rows = self.rings.read(queues, far, time, size)
            together = jnp.stack([jnp.concatenate(taps, axis=-1) for taps in rows])
            flat = together.reshape(len(far), size * batch, -1)
            filters = jnp.stack([self.layers[layer].filter.kernel(0) for layer in far])
            products = jnp.einsum("frc,fcz->frz", flat, filters)
            sums = {layer: a.reshape(size, batch, -1) for layer, a in zip(far, products, strict=True)}
        pasts, inputs = [], []
        for layer in range(len(self.layers)):
            share = jnp.broadcast_to(
                self.shares.rows(layer, time, size), (size, batch, self.shares.constant[layer].shape[-1])
            )
            pasts.append(share + sums[layer] if layer in sums else share)
            inputs.append(self._recent(queues, layer, time, 0 if layer in sums else reach, reach + size))
        past, held = jnp.stack(pasts), jnp.stack(inputs)
        return Stretch(held[:, :, 0], past[:, :, 0]) if batch == 1 else Stretch(held, past)

    def step(
        self, stretch: Stretch, h: Float[Array, "*B C"], i: Int[Array, ""]
    ) -> tuple[tuple[Float[Array, "*B C"], Any], Stretch]:
        """Step ``i`` of a stretch: as ``block``, and the stretch that holds the layers' inputs."""
        size = stretch.past.shape[1]
        reach = self._reach(size)
        skip, inputs = self._no_skip(h), []
        for index, layer in enumerate(self.layers):
            sums = lax.dynamic_index_in_dim(stretch.past[index], i, keepdims=False)
            dilation = self.rings.dilations[index]
            if dilation < size:
                rows = [
                    lax.dynamic_index_in_dim(stretch.inputs[index], reach + i - (tap + 1) * dilation, keepdims=False)
                    for tap in range(self.rings.taps)
                ]
                sums = layer.filter.add(sums, [jnp.concatenate(rows, axis=-1), h])
            else:
                sums = sums + matmul(h, layer.filter.kernel(1))
            inputs.append(h)
            h, skip = layer(h, skip, sums)
        kept = lax.dynamic_update_index_in_dim(stretch.inputs, jnp.stack(inputs), reach + i, 1)
        return (h, skip), stretch._replace(inputs=kept)

    def close(self, queues: Float[Array, "D B C"], stretch: Stretch, time: Start) -> Float[Array, "D B C"]:
        """The queues after a stretch."""
        size = stretch.past.shape[1]
        inputs = stretch.inputs[:, -size:].reshape(len(self.layers), size, *queues.shape[1:])
        return self.rings.write(queues, list(inputs), time, size)

    def _recent(self, queues: Float[Array, "D B C"], layer: int, time: Start, reach: int, size: int) -> Array:
        """Room for ``size`` of a layer's inputs, with its queue's in the places that end at ``reach``."""
        length = self.rings.lengths[layer] if reach else 0
        slots = self.rings.slots(layer, time - length + jnp.arange(length))
        known = jnp.take(queues, slots, axis=0, mode="clip")
        return jnp.pad(known, ((reach - length, size - reach), (0, 0), (0, 0)))

    def _near(self, size: int) -> list[int]:
        """Layers that read their own inputs within a stretch."""
        return [layer for layer, dilation in enumerate(self.rings.dilations) if dilation < size]

    def _far(self, size: int) -> list[int]:
        return [layer for layer, dilation in enumerate(self.rings.dilations) if dilation >= size]

    def _reach(self, size: int) -> int:
        """How far near layers read into the past."""
        return max((self.rings.lengths[layer] for layer in self._near(size)), default=0)

    def _no_skip(self, h: Float[Array, "*S C"]) -> Any:
        return jnp.zeros((*h.shape[:-1], self.num_skip), h.dtype) if self.num_skip else None
