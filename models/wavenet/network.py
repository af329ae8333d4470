"""WaveNet in the inference form: one definition for sweeps, blocks and single steps, with queues as its cache.

Equation t reads the class ids x_{t-1}, x_{t-2}, ... and gives the logits of x_t. The first layer is a filter over
features of the ids; its products are folded into one table a tap, so that it costs a lookup. Ids of the table beyond
the classes: EMPTY (nothing has come before, zeros) and FIRST (what the very first step reads).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from models.wavenet.readout import Readout
from models.wavenet.rings import Rings
from models.wavenet.stack import CausalStack, Stretch
from solvers.trees.blocks import Start
from solvers.trees.platform import on_cpu
from solvers.trees.pytree import pytree

EMPTY, FIRST = 0, 1  # ids counted from the number of classes

# Steps of a stretch times samples of a batch. So many rows make the queues' products matrix products that run at full
# speed; longer stretches only make the products of near layers more. An accelerator starts as many kernels for a
# stretch however long it is.
_ROWS, _ROWS_OF_AN_ACCELERATOR = 16, 64


@pytree
@dataclass(frozen=True)
class WaveNetCache:
    """A prefix: the ids that the first layer still reads, oldest first, and every other layer's queue."""

    ids: Int[Array, "*M P B"]
    queues: Float[Array, "*M D B C"]
    rings: Rings = field(metadata={"static": True})  # how the queues lie; shortened in the strips of prefix_caches


class WaveNetBlock(NamedTuple):
    """A stretch of steps under way."""

    ids: Int[Array, "_ *B"]  # those of the cache, then the stretch's
    stretch: Stretch
    time: Int[Array, ""]


@pytree
@dataclass(frozen=True)
class FirstLayer:
    """h_t = act(sum over taps j of table_j[x_{t-1 - j * dilation}]); biases are in the first table."""

    tables: Float[Array, "width I C"]
    dilation: int = field(metadata={"static": True})
    rectified: bool = field(metadata={"static": True})

    @property
    def history(self) -> int:
        """The number of ids that one step reads from, the newest included."""
        return 1 + self.dilation * (self.tables.shape[0] - 1)

    def __call__(self, ids: Int[Array, "_ *B"], start: Start, size: int) -> Float[Array, "S *B C"]:
        """Outputs for ``size`` steps, of which the first reads ids [start, start + history)."""
        h: Any = 0.0
        for tap, table in enumerate(self.tables):
            first = start + self.history - 1 - tap * self.dilation
            rows = lax.dynamic_slice_in_dim(ids, first, size)
            h = h + jnp.take(table, rows, axis=0, mode="clip")
        return jax.nn.relu(h) if self.rectified else h


@pytree
@dataclass(frozen=True)
class WaveNetNetwork:
    """A CausalNetwork (see solvers/systems/autoregressive.py) over class ids.

    ``begin`` is the cache that equation 0 starts from and ``origin`` its time: 0 and empty, or the end of a prompt.
    """

    first: FirstLayer
    stack: CausalStack
    readout: Readout
    begin: WaveNetCache | None
    origin: Int[Array, ""]
    num_classes: int = field(metadata={"static": True})
    num_equations: int = field(metadata={"static": True})

    @property
    def block_unit(self) -> int:
        """Blocks may start anywhere."""
        return 1

    @property
    def receptive_field(self) -> int:
        """The number of samples that an equation depends on."""
        return self.first.history + sum(self.stack.rings.lengths)

    def init_cache(self, batch_size: int, dtype: Any) -> WaveNetCache:
        """The cache before equation 0. ``dtype``: of the ids."""
        if self.begin is not None:
            return self.begin
        ids = jnp.full((self.first.history, batch_size), self.num_classes + EMPTY, dtype)
        ids = ids.at[-1].set(self.num_classes + FIRST)
        return WaveNetCache(ids, self.stack.init_queues(batch_size), self.stack.rings)

    def after(self, cache: WaveNetCache, time: Start, num_equations: int) -> WaveNetNetwork:
        """The equations that follow a prefix which ends at ``time``."""
        return replace(self, begin=cache, origin=jnp.asarray(time, jnp.int32), num_equations=num_equations)

    def from_now(self, time: Start) -> WaveNetNetwork:
        """The network with frames of local conditioning that begin at ``time``."""
        shares = replace(self.stack.shares, begin=jnp.asarray(time, jnp.int32))
        return replace(self, stack=replace(self.stack, shares=shares))

    def from_frame(self, frame: int) -> WaveNetNetwork:
        """The network with as many frames of local conditioning, from number ``frame`` on; the last one is repeated."""
        shares = self.stack.shares
        if shares.local is None:
            return self
        local = jnp.take(shares.local, frame + np.arange(shares.local.shape[0]), axis=0, mode="clip")
        return replace(self, stack=replace(self.stack, shares=replace(shares, local=local)))

    def conditionals(
        self, x: Int[Array, "S B"], cache: WaveNetCache, start: Start, size: int, keep: Start
    ) -> tuple[Float[Array, "S B K"], WaveNetCache]:
        """Logits of equations [start, start + size); see CausalNetwork."""
        (h, skip), inputs = self._features(x, cache, start, size)
        queues = cache.rings.write(cache.queues, inputs, self.origin + start, keep)
        return self.readout(h, skip), replace(cache, queues=queues)

    def record(self, values: Int[Array, "S B"], cache: WaveNetCache, start: Start, keep: Start) -> WaveNetCache:
        """Add the first ``keep`` of a block's ids."""
        ids = jnp.concatenate([cache.ids, values.astype(cache.ids.dtype)])
        return replace(cache, ids=lax.dynamic_slice_in_dim(ids, keep, self.first.history))

    def prefix_caches(self, x: Int[Array, "T B"], block_size: int) -> WaveNetCache:
        """Caches at all block starts from one sweep, only as long as a block needs."""
        cache = self.init_cache(x.shape[1], x.dtype)
        _, inputs = self._features(x, cache, 0, x.shape[0])
        starts = np.arange(0, x.shape[0], block_size)
        rings = self.stack.rings
        queues = rings.strips(cache.queues, inputs, self.origin, starts, block_size)
        ids = jnp.concatenate([cache.ids, x.astype(cache.ids.dtype)])
        histories = ids[starts[:, None] + np.arange(self.first.history)]
        return WaveNetCache(histories, queues, rings.within(block_size))

    def stretch(self, size: int, batch_size: int) -> int:
        """The largest divisor of ``size`` that makes no more than so many rows."""
        rows = _ROWS if on_cpu() else _ROWS_OF_AN_ACCELERATOR
        longest = max(1, min(size, rows // batch_size))
        return next(length for length in range(longest, 0, -1) if size % length == 0)

    def open_block(self, cache: WaveNetCache, start: Start, size: int) -> WaveNetBlock:
        """The queues' share of a stretch of steps."""
        time = self.origin + start
        ids = jnp.concatenate([cache.ids, jnp.zeros((size, cache.ids.shape[1]), cache.ids.dtype)])
        return WaveNetBlock(_lean(ids), self._stack_on(cache).open(cache.queues, time, size), time)

    def step_block(self, block: WaveNetBlock, i: Int[Array, ""]) -> tuple[Float[Array, "1 B K"], WaveNetBlock]:
        """Logits of the stretch's equation i."""
        h = self.first(block.ids, i, 1)[0]
        (h, skip), stretch = self.stack.step(block.stretch, h, i)
        return self.readout(h, skip).reshape(1, -1, self.num_classes), block._replace(stretch=stretch)

    def record_step(self, block: WaveNetBlock, value: Int[Array, "1 B"], i: Int[Array, ""]) -> WaveNetBlock:
        """Add the id of the stretch's equation i."""
        value = value.reshape(1, *block.ids.shape[1:]).astype(block.ids.dtype)
        return block._replace(ids=lax.dynamic_update_slice_in_dim(block.ids, value, i + self.first.history, 0))

    def close_block(self, cache: WaveNetCache, block: WaveNetBlock) -> tuple[Int[Array, "S B"], WaveNetCache]:
        """The stretch's ids and the cache after it."""
        ids = block.ids.reshape(block.ids.shape[0], -1)
        queues = self._stack_on(cache).close(cache.queues, block.stretch, block.time)
        return ids[self.first.history :], replace(cache, ids=ids[-self.first.history :], queues=queues)

    def _stack_on(self, cache: WaveNetCache) -> CausalStack:
        """The layers on queues that lie as the cache's do, which in strips of ``prefix_caches`` are shorter."""
        return replace(self.stack, rings=cache.rings)

    def _features(
        self, x: Int[Array, "S B"], cache: WaveNetCache, start: Start, size: int
    ) -> tuple[tuple[Float[Array, "S B C"], Any], list[Float[Array, "S B C"]]]:
        """The last layer's output with the skip connections' sum, and every layer's inputs."""
        ids = jnp.concatenate([cache.ids, x.astype(cache.ids.dtype)])
        return self.stack.block(self.first(ids, 0, size), cache.queues, self.origin + start, cache.rings)


def _lean(array: Array) -> Array:
    """The array without a batch axis of one sample; see Stretch."""
    return array[:, 0] if array.shape[1] == 1 else array
