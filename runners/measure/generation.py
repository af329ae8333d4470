"""Generating sound by one compiled program, piece after piece, and how long that takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from models.wavenet.generation import Generation, generate
from models.wavenet.network import WaveNetNetwork
from runners.measure.timing import Times

PIECE = 4096  # samples of each timed piece, or a few more where frames of local conditioning must not be cut


class CompiledGeneration:
    """Goes on from a state by pieces of one length. Memory is constant: the state, and one piece."""

    def __init__(self, network: WaveNetNetwork, head: Any, state: Generation, num_samples: int) -> None:
        """Compile for pieces of ``num_samples``. ``state`` is used up; ``compile_s`` is the time that it took."""
        begin = time.perf_counter()
        self.num_samples, self.state = num_samples, state  # where it stands
        self._generate = generate.lower(network, head, state, num_samples).compile()
        self.compile_s = time.perf_counter() - begin

    def piece(self, network: WaveNetNetwork) -> tuple[Int[np.ndarray, "N B"], float]:
        """The next samples' class ids, and the seconds that they took.

        ``network``: that which it was compiled for, or one that differs in its frames alone.
        """
        begin = time.perf_counter()
        ids, self.state = jax.block_until_ready(self._generate(network, self.state))
        took = time.perf_counter() - begin
        return np.asarray(ids), took


@dataclass(frozen=True)
class Continuation:
    """What was generated, and at what cost."""

    ids: Int[np.ndarray, "N B"]
    sample_s: Times  # for one more sample of every sequence of the batch
    state_bytes: int  # all that is kept between two samples, for the whole batch
    sample_rate: int  # in Hz

    @property
    def record(self) -> dict[str, Any]:
        """As results.json has it; the real-time factor is time spent over time of sound: below 1 it keeps up."""
        return {
            "num_samples": len(self.ids),
            "ms_per_sample": self.sample_s.in_ms,
            "real_time_factor": self.sample_s.median * self.sample_rate,
            "sample_rate": self.sample_rate,
            "state_bytes": self.state_bytes,
        }


def continued(
    network: WaveNetNetwork, head: Any, state: Generation, num_samples: int, sample_rate: int
) -> Continuation:
    """The next ``num_samples`` after ``state``, whose time counts from where the network's frames begin.

    Piece by piece; the first, in which caches and threads warm up, is not timed unless it is the only one.
    """
    size, done = state_bytes(state), int(state.time)
    hop = network.stack.shares.hop
    pieces: list[Int[np.ndarray, "S B"]] = []
    seconds: list[float] = []
    if done % hop:  # up to the next frame, so that every piece begins with one
        first = CompiledGeneration(network, head, state, hop - done % hop)
        pieces.append(first.piece(network.from_frame(done // hop))[0])
        state, done = first.state, done + first.num_samples
    generator = CompiledGeneration(network, head, state, hop * -(-min(PIECE, num_samples) // hop))
    while not seconds or sum(map(len, pieces)) < num_samples:
        ids, took = generator.piece(network.from_frame(done // hop))
        pieces.append(ids)
        seconds.append(took / len(ids))
        done += len(ids)
    ids = np.concatenate(pieces)[:num_samples]
    return Continuation(ids, Times.of(seconds[1:] or seconds), size, sample_rate)


def state_bytes(state: Generation) -> int:
    """What has to be kept between two samples."""
    kept = (state.cache, state.time, state.drawn, jax.random.key_data(state.key))
    return sum(leaf.nbytes for leaf in jax.tree.leaves(kept))
