"""The recurrent states of a stack of dilated convolutions: all layers' queues as rings in one flat buffer.

A layer of dilation d whose filter has ``taps`` inputs besides the newest reads its own input d, 2d, ..., taps * d steps
ago, so that its queue holds the last taps * d inputs (Paine et al., "Fast Wavenet Generation Algorithm", 2016, arXiv
1611.09482). The input of time t lies in slot t modulo the queue's length: nothing moves when time goes on. One buffer
for all layers makes a step's reads one gather and its writes one scatter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from solvers.trees.blocks import Start

_LATEST = 2**30


@dataclass(frozen=True)
class Rings:
    """The places of all layers' queues in a buffer (total, batch, channels). Static under jit."""

    dilations: tuple[int, ...]
    taps: int  # the filter's width less one

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The number of inputs that each layer's queue holds."""
        return tuple(self.taps * dilation for dilation in self.dilations)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The first row of each layer's queue."""
        return tuple(accumulate(self.lengths, initial=0))[:-1]

    @property
    def total(self) -> int:
        """The number of rows of the buffer."""
        return sum(self.lengths)

    def wrapped(self, time: Start) -> Int[Array, ""]:
        """A time that the slots cannot tell from ``time``, and that stays below 2^30 where their period allows it."""
        period = math.lcm(*self.lengths)
        return jnp.asarray(time % (period * (_LATEST // period)) if period <= _LATEST else time, jnp.int32)

    def rebased(
        self, buffer: Float[Array, "D B C"], time: Int[Array, ""]
    ) -> tuple[Float[Array, "D B C"], Int[Array, ""]]:
        """The buffer and the time as they would be had time begun later, so that it stays below 2^30 between blocks.

        Where whole periods of the slots are short enough the buffer stays as it is. Else, once 2^30 steps have passed,
        every queue is turned to where the time less these steps finds its inputs.
        """
        if math.lcm(*self.lengths) <= _LATEST:
            return buffer, self.wrapped(time)

        def turned(buffer: Float[Array, "D B C"]) -> Float[Array, "D B C"]:
            queues = [
                jnp.roll(buffer[first : first + length], -(_LATEST % length), axis=0)
                for first, length in zip(self.offsets, self.lengths, strict=True)
            ]
            return jnp.concatenate(queues)

        late = time >= _LATEST
        return lax.cond(late, turned, lambda buffer: buffer, buffer), jnp.where(late, time - _LATEST, time)

    def within(self, size: int) -> Rings:
        """The rings of a strip, which serve the ``size`` steps after its beginning and no others.

        Of a dilation longer than that a strip keeps the inputs that those steps read, as if the dilation were ``size``.
        """
        return Rings(tuple(min(dilation, size) for dilation in self.dilations), self.taps)

    def slots(self, layer: int, times: Int[Array, " N"]) -> Int[Array, " N"]:
        """Rows of the buffer that hold a layer's inputs of these times."""
        return self.offsets[layer] + times % self.lengths[layer]

    def read(
        self, buffer: Float[Array, "D B C"], layers: Sequence[int], time: Start, size: int
    ) -> list[list[Float[Array, "_ B C"]]]:
        """For each of ``layers`` and each tap j = 1 .. taps what steps time, ..., time + size - 1 read of the past.

        Tap j's rows are the inputs of time + i - j * dilation, for as many i as lie before ``time``: at most ``size``.
        """
        counts = [min(size, j * self.dilations[layer]) for layer in layers for j in self._taps]
        if not counts:
            return [[] for _ in layers]
        wanted = [
            self.slots(layer, time - j * self.dilations[layer] + jnp.arange(min(size, j * self.dilations[layer])))
            for layer in layers
            for j in self._taps
        ]
        rows = jnp.take(buffer, jnp.concatenate(wanted), axis=0, mode="clip", unique_indices=True)
        ends = list(accumulate(counts, initial=0))
        parts = [rows[first:last] for first, last in pairwise(ends)]
        return [parts[i * self.taps : (i + 1) * self.taps] for i in range(len(layers))]

    def write(
        self, buffer: Float[Array, "D B C"], inputs: Sequence[Float[Array, "S B C"]], time: Start, keep: Start
    ) -> Float[Array, "D B C"]:
        """The buffer after the first ``keep`` of each layer's inputs at times time, time + 1, ..."""
        size = inputs[0].shape[0] if inputs else 0
        rows, slots = [], []
        for layer, values in enumerate(inputs):
            first = max(0, keep - self.lengths[layer]) if isinstance(keep, int) else 0
            last = keep if isinstance(keep, int) else size
            index = jnp.arange(first, last)
            kept = (index < keep) & (index >= keep - self.lengths[layer])  # older ones have been overwritten since
            slots.append(jnp.where(kept, self.slots(layer, time + index), self.total))
            rows.append(values[first:last])
        if not rows or not self.total:
            return buffer
        return buffer.at[jnp.concatenate(slots)].set(jnp.concatenate(rows), mode="drop")

    def strips(
        self,
        buffer: Float[Array, "D B C"],
        inputs: Sequence[Float[Array, "T B C"]],
        time: Start,
        starts: Int[np.ndarray, " M"],
        size: int,
    ) -> Float[Array, "M E B C"]:
        """Buffers of ``within(size)`` for blocks that begin at time + starts, from inputs of time, time + 1, ..."""
        strip = self.within(size)
        columns = []
        for layer, values in enumerate(inputs):
            length, short = self.lengths[layer], strip.lengths[layer]
            before = jnp.take(buffer, self.slots(layer, time - length + jnp.arange(length)), axis=0)
            begin = starts[:, None]
            # The slots of a strip in the order of time: for tap j the inputs that step i reads, i = 0, 1, ...
            place = jnp.mod(jnp.arange(short) - (time + begin), short)
            tap, step = self.taps - place // strip.dilations[layer], place % strip.dilations[layer]
            row = length + begin + step - tap * self.dilations[layer]
            columns.append(jnp.take(jnp.concatenate([before, values]), row, axis=0, mode="clip"))
        return jnp.concatenate(columns, axis=1)

    @property
    def _taps(self) -> range:
        return range(1, self.taps + 1)


def delayed(past: Float[Array, "P B C"], inputs: Float[Array, "S B C"]) -> Float[Array, "S B C"]:
    """A tap's whole input: what lies before the block, as ``read`` gives it, and then the block's own inputs."""
    size = inputs.shape[0]
    return past if past.shape[0] == size else jnp.concatenate([past, inputs[: size - past.shape[0]]])
